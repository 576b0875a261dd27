// What the theme leaves out for keyboards and screen readers.
document.querySelector(".md-search")?.setAttribute("aria-label", "Search")
for (const nav of document.querySelectorAll("nav[aria-labelledby]")) {
  const label = document.getElementById(nav.getAttribute("aria-labelledby"))
  if (label?.textContent.trim()) continue
  // of a section with a page of its own, whose name stands in the link beside the empty label
  nav.removeAttribute("aria-labelledby")
  nav.setAttribute("aria-label", nav.parentElement.querySelector("a")?.textContent.trim() || "Section")
}
addEventListener("load", () => {
  for (const code of document.querySelectorAll("pre > code")) code.tabIndex = 0
  for (const buttons of document.querySelectorAll(".md-code__nav")) buttons.setAttribute("role", "none")
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap"))
    if (table.scrollWidth > table.clientWidth) table.tabIndex = 0
})

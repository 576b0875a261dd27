// What the theme leaves out for keyboards and screen readers.
document.querySelector(".md-search")?.setAttribute("aria-label", "Search")
addEventListener("load", () => {
  for (const code of document.querySelectorAll("pre > code")) code.tabIndex = 0
})

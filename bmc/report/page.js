// Draws the charts that can be seen; those in closed details when they are opened.
const charts = JSON.parse(document.getElementById("charts").textContent);
const options = { actions: false, renderer: "svg", defaultStyle: false, tooltip: { disableDefaultStyle: true } };

async function draw(root) {
  for (const box of root.querySelectorAll(".chart:not([data-drawn])")) {
    if (!box.clientWidth) continue;
    box.dataset.drawn = "";
    const chart = charts[box.dataset.chart];
    chart.config.legend.columns = Math.max(1, Math.floor(box.clientWidth / 170));
    chart.description = box.getAttribute("aria-label");
    await vegaEmbed(box, chart, options);
    box.setAttribute("role", "img");
  }
}

for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", () => draw(details));
}
draw(document).then(() => { document.body.dataset.ready = ""; });

// Values under the pointer: the legend of a chart shows those of the nearest step.
for (const figure of document.querySelectorAll("figure[data-curves]")) {
  const curves = JSON.parse(figure.dataset.curves);
  const [first, last, left, right, width] = JSON.parse(figure.dataset.frame);
  const svg = figure.querySelector("svg"), at = svg.querySelector(".at");
  const values = figure.querySelectorAll(".legend b"), plain = [...values].map((b) => b.textContent);
  const nearest = (points, step) =>
    points.reduce((best, p) => (Math.abs(p[0] - step) < Math.abs(best[0] - step) ? p : best));
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = Math.min(right, Math.max(left, ((event.clientX - box.left) / box.width) * width));
    const step = first + ((x - left) / (right - left)) * (last - first);
    at.setAttribute("x1", x);
    at.setAttribute("x2", x);
    at.style.visibility = "visible";
    values.forEach((b, n) => {
      const [where, value] = nearest(curves[n][1], step);
      b.textContent = `${Number(value.toPrecision(4))} at ${Math.round(where)}`;
    });
  });
  svg.addEventListener("pointerleave", () => {
    at.style.visibility = "hidden";
    values.forEach((b, n) => (b.textContent = plain[n]));
  });
}

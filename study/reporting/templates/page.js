// Shows the <title> of each strip, mark, line and curve beside the pointer; without JavaScript the browser shows it as its own tooltip.
const tip = document.getElementById("tip");
for (const strip of document.querySelectorAll(".hover, .told, .strand")) {
  const title = strip.querySelector("title");
  const text = title.textContent;
  title.remove();
  const show = (event) => {
    tip.textContent = text;
    tip.hidden = false;
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = Math.max(8, Math.min(event.pageX + 14, room)) + "px";
    tip.style.top = event.pageY + 16 + "px";
  };
  strip.addEventListener("pointermove", show);
  strip.addEventListener("pointerdown", show);
  strip.addEventListener("pointerleave", () => { tip.hidden = true; });
}
// A click, or the return key, brings a curve forward to stay, or sends it back.
for (const strand of document.querySelectorAll(".strand")) {
  strand.setAttribute("tabindex", "0");
  strand.addEventListener("click", () => strand.classList.toggle("lit"));
  strand.addEventListener("keydown", (event) => { if (event.key === "Enter") strand.classList.toggle("lit"); });
}
// Turns points in space as they are dragged: to the side about the upright axis, up and down about the level one.
for (const figure of document.querySelectorAll("svg:has([data-space])")) {
  const dots = [...figure.querySelectorAll("[data-space]")].map((path) => ({
    path, points: path.dataset.space.split(" ").map((point) => point.split(",").map((value) => value / 100)),
  }));
  let [x, y, radius, yaw, pitch] = dots[0].path.dataset.view.split(",").map(Number);
  let from = null;
  const draw = () => {
    const [s, c, u, v] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
    for (const { path, points } of dots) {
      path.setAttribute("d", points.map(([a, b, d]) =>
        `M${(x + radius * (a * c + d * s)).toFixed(1)},${(y - radius * (b * v - (d * c - a * s) * u)).toFixed(1)}h0`
      ).join(""));
    }
  };
  figure.style.cursor = "grab";
  figure.style.touchAction = "pan-y";
  figure.addEventListener("pointerdown", (event) => { from = event; figure.setPointerCapture(event.pointerId); });
  figure.addEventListener("pointermove", (event) => {
    if (!from) return;
    yaw -= (event.clientX - from.clientX) / 120;
    pitch += (event.clientY - from.clientY) / 120;
    from = event;
    draw();
  });
  for (const end of ["pointerup", "pointercancel"]) figure.addEventListener(end, () => { from = null; });
}

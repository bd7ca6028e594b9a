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

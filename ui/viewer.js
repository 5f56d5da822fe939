/* The viewer's hands: zoom, pan, draw, toggle, light up. It knows no answer; what was drawn is told to the page's
   program as `select` events. Runs once a page, over whatever slice the program renders. */
const seen = { key: null, view: null, tool: "pan", hidden: new Set(), lit: [], cut: 50 };
const find = (what) => element.querySelector(what);
const svg = () => find(".cs-stage svg");
const number = (name) => Number(svg().dataset[name]);
const whole = () => ({ x: 0, y: 0, w: number("width"), h: number("height") * number("aspect") });

function apply() {
  const drawing = svg();
  if (!drawing) { seen.key = null; return; }
  if (seen.key !== drawing.dataset.key) {
    seen.key = drawing.dataset.key;
    seen.view = whole();
  }
  const v = seen.view;
  drawing.setAttribute("viewBox", `${v.x} ${v.y} ${v.w} ${v.h}`);
  for (const layer of element.querySelectorAll(".cs-layer")) {
    layer.style.display = seen.hidden.has(layer.dataset.layer) ? "none" : "";
    layer.classList.toggle("cs-lit", seen.lit.includes(layer.dataset.layer));
  }
  compare();
  const boxes = [...element.querySelectorAll("[data-toggle]")];
  for (const box of boxes) box.checked = !seen.hidden.has(box.dataset.toggle);
  const all = boxes.find((box) => box.dataset.toggle === "all");
  if (all) all.checked = boxes.every((box) => box === all || box.checked);
  const asks = drawing.dataset.asks === "1";
  const tool = asks ? seen.tool : "pan";
  for (const button of element.querySelectorAll("[aria-pressed]"))
    button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  find(".cs-stage").dataset.tool = tool;
  find(".cs-plane").style.setProperty("--unit", v.w / drawing.clientWidth);
  scale();
}

function compare() {                          // left of the edge lies the image as it was, right of it the enhanced one
  const slider = find("[data-compare]"), x = number("width") * seen.cut / 100;
  if (!slider) return;
  slider.value = seen.cut;
  for (const rect of element.querySelectorAll(".cs-cut")) rect.setAttribute("x", x);
  for (const edge of element.querySelectorAll(".cs-edge"))
    for (const end of ["x1", "x2"]) edge.setAttribute(end, x);
}

function scale() {
  const bar = find(".cs-scale"), mm = Number(svg().dataset.mm);
  const shown = Math.min(svg().clientWidth / seen.view.w, svg().clientHeight / seen.view.h);
  bar.hidden = !(mm > 0) || !(shown > 0);
  if (bar.hidden) return;
  const most = (120 / shown) * mm, power = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map((n) => n * power).find((n) => n <= most);
  bar.style.width = `${(length / mm) * shown}px`;
  bar.firstChild.textContent = length >= 10 ? `${length / 10} cm` : `${Number(length.toPrecision(2))} mm`;
}

function zoom(factor, at) {
  const v = seen.view, full = whole();
  const w = Math.min(full.w * 1.5, Math.max(full.w / 40, v.w * factor)), by = w / v.w;
  const x = at ? at.x : v.x + v.w / 2, y = at ? at.y : v.y + v.h / 2;
  seen.view = { x: x - (x - v.x) * by, y: y - (y - v.y) * by, w, h: v.h * by };
  apply();
}

function place(event) {                       // in the drawing's own units
  const made = svg().createSVGPoint();
  made.x = event.clientX; made.y = event.clientY;
  return made.matrixTransform(svg().getScreenCTM().inverse());
}
const pixel = (at) => ({ x: at.x, y: at.y / number("aspect") });
const corners = (rect) => {
  const [x, y, w, h] = ["x", "y", "width", "height"].map((name) => Number(rect.getAttribute(name)));
  return [x, y, x + w, y + h];
};
function put(rect, [x1, y1, x2, y2]) {
  const made = { x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1) };
  for (const [name, value] of Object.entries(made)) rect.setAttribute(name, value);
}
const tell = (said) => trigger("select", said);
const moved = (region) => tell({ moved: Number(region.dataset.region), corners: corners(region.querySelector("rect")) });

let held = null;                              // what a pressed pointer is doing
const fingers = new Map();

element.addEventListener("pointerdown", (event) => {
  const stage = event.target.closest(".cs-stage");
  if (!stage || event.button !== 0) return;
  fingers.set(event.pointerId, event);
  const at = place(event), region = event.target.closest(".cs-region"), tool = stage.dataset.tool;
  stage.setPointerCapture(event.pointerId);
  if (region) {
    held = { kind: "move", region, from: pixel(at), was: corners(region.querySelector("rect")) };
    region.focus();
  } else if (tool === "box") {
    held = { kind: "draw", from: pixel(at) };
    find(".cs-new").removeAttribute("hidden");
    put(find(".cs-new"), [held.from.x, held.from.y, held.from.x, held.from.y]);
  } else if (tool === "point") {
    tell({ point: [pixel(at).x, pixel(at).y] });
  } else {
    held = { kind: "pan", x: event.clientX, y: event.clientY, was: { ...seen.view } };
  }
});

element.addEventListener("pointermove", (event) => {
  if (fingers.size === 2 && fingers.has(event.pointerId)) return pinch(event);
  if (!held) return;
  const at = pixel(place(event));
  if (held.kind === "pan") {
    const by = seen.view.w / svg().clientWidth, high = seen.view.h / svg().clientHeight, one = Math.max(by, high);
    seen.view = { ...held.was, x: held.was.x - (event.clientX - held.x) * one, y: held.was.y - (event.clientY - held.y) * one };
    apply();
  } else if (held.kind === "draw") {
    held.to = at;
    put(find(".cs-new"), [held.from.x, held.from.y, at.x, at.y]);
  } else {
    const [x1, y1, x2, y2] = held.was, dx = at.x - held.from.x, dy = at.y - held.from.y;
    held.done = true;
    put(held.region.querySelector("rect"), [x1 + dx, y1 + dy, x2 + dx, y2 + dy]);
  }
});

function pinch(event) {
  const span = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY); };
  const before = span();
  fingers.set(event.pointerId, event);
  held = null;
  find(".cs-new").setAttribute("hidden", "");
  if (span() > 0) zoom(before / span());
}

function released(event) {
  fingers.delete(event.pointerId);
  const was = held;
  held = null;
  if (!was) return;
  if (was.kind === "draw") {
    find(".cs-new").setAttribute("hidden", "");
    if (was.to) tell({ corners: [was.from.x, was.from.y, was.to.x, was.to.y] });
  }
  if (was.kind === "move" && was.done) moved(was.region);
}
element.addEventListener("pointerup", released);
element.addEventListener("pointercancel", released);

element.addEventListener("wheel", (event) => {
  if (!event.target.closest(".cs-stage")) return;
  event.preventDefault();
  zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, place(event));
}, { passive: false });

const act = {
  in: () => zoom(1 / 1.4), out: () => zoom(1.4), fit: () => { seen.view = whole(); apply(); }, clear: () => tell({ clear: true }),
};
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-tool]");
  if (!button || button.classList.contains("cs-stage")) return;
  if (act[button.dataset.tool]) return act[button.dataset.tool]();
  seen.tool = button.dataset.tool;
  apply();
});
element.addEventListener("dblclick", (event) => { if (event.target.closest(".cs-stage")) act.fit(); });

element.addEventListener("input", (event) => {
  if (!("compare" in event.target.dataset)) return;
  seen.cut = Number(event.target.value);
  compare();
});
element.addEventListener("change", (event) => {
  const id = event.target.dataset.toggle;
  if (!id) return;
  const ids = id === "all" ? [...element.querySelectorAll("[data-toggle]")].map((box) => box.dataset.toggle) : [id];
  for (const one of ids) event.target.checked ? seen.hidden.delete(one) : seen.hidden.add(one);
  apply();
});

const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
element.addEventListener("keydown", (event) => {
  if (!event.target.closest(".cs-stage")) return;
  const region = event.target.closest(".cs-region"), step = steps[event.key];
  if (region && step) {
    const rect = region.querySelector("rect"), [x1, y1, x2, y2] = corners(rect), by = number("width") / 50;
    const [dx, dy] = [step[0] * by, step[1] * by];
    put(rect, event.shiftKey ? [x1, y1, Math.max(x1 + 1, x2 + dx), Math.max(y1 + 1, y2 + dy)] : [x1 + dx, y1 + dy, x2 + dx, y2 + dy]);
    moved(region);
  } else if (region && (event.key === "Delete" || event.key === "Backspace")) {
    tell({ removed: Number(region.dataset.region) });
  } else if (step) {
    seen.view = { ...seen.view, x: seen.view.x + step[0] * seen.view.w / 10, y: seen.view.y + step[1] * seen.view.h / 10 };
    apply();
  } else if (event.key === "+" || event.key === "=") act.in();
  else if (event.key === "-") act.out();
  else if (event.key === "0") act.fit();
  else if (event.key === "PageUp" || event.key === "PageDown") tell({ step: event.key === "PageUp" ? -1 : 1 });
  else if (event.key === "Enter" && !region && find(".cs-stage").dataset.tool !== "pan") {
    const v = seen.view, y = v.y / number("aspect"), h = v.h / number("aspect");
    const middle = [v.x + v.w / 2, y + h / 2];
    tell(seen.tool === "point" ? { point: middle } : { corners: [middle[0] - v.w / 8, middle[1] - h / 8, middle[0] + v.w / 8, middle[1] + h / 8] });
  } else return;
  event.preventDefault();
});

/* A finding lights its layers, and a layer its findings, by the pointer, the keyboard or a tap. */
function light(from) {
  const named = from?.closest?.("[data-layers]"), layer = from?.closest?.(".cs-layer");
  seen.lit = named ? named.dataset.layers.split(" ") : layer ? [layer.dataset.layer] : [];
  for (const one of document.querySelectorAll(".cs-finding"))
    one.classList.toggle("cs-lit", !!layer && one.dataset.layers.split(" ").includes(layer.dataset.layer));
  find(".cs-stage")?.classList.toggle("cs-dim", seen.lit.some((id) => find(`.cs-layer[data-layer="${CSS.escape(id)}"]`)));
  if (svg()) apply();
}
for (const name of ["pointerover", "focusin"]) document.addEventListener(name, (event) => light(event.target));
document.addEventListener("click", (event) => {
  const finding = event.target.closest?.(".cs-finding");
  if (!finding || !svg()) return;
  for (const id of finding.dataset.layers.split(" ")) seen.hidden.delete(id);
  light(finding);
  find(".cs-stage").scrollIntoView({ block: "nearest", behavior: "smooth" });
});
new ResizeObserver(() => { if (svg()) apply(); }).observe(element);

/* What is rendered anew loses the focus: it is given back to the same tool, region or image. */
const names = (from) => ["tool", "region", "toggle", "compare"].filter((name) => name in from.dataset && !from.matches(".cs-stage"))
  .map((name) => `[data-${name}="${CSS.escape(from.dataset[name])}"]`)[0] ?? (from.matches(".cs-stage") ? ".cs-stage" : null);
let focused = null;
document.addEventListener("focusin", (event) => { focused = element.contains(event.target) ? names(event.target) : null; });
document.addEventListener("pointerdown", (event) => { if (!element.contains(event.target)) focused = null; });
watch("value", () => {
  apply();
  if (focused && document.activeElement === document.body) find(focused)?.focus({ preventScroll: true });
});
apply();

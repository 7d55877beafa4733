"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  if (!data.cases.length) return;

  const byId = (id) => document.getElementById(id);
  const panes = byId("panes");
  const MOST_ZOOM = 16;
  const STEP = 1.5;

  // What is shown: an example, and one place in it for all panes (the centre, in shares of it).
  let shown = data.cases;
  let current = 0;
  let zoom = 1;
  let centre = { x: 0.5, y: 0.5 };
  let isBlinking = false;

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function fill(select, options) {
    select.replaceChildren(...options.map(([value, text]) =>
      element("option", { value, textContent: text })));
  }

  function signed(number) {
    return (number < 0 ? "−" : "+") + Math.abs(number).toFixed(2);
  }

  function scores(example, column) {
    return column in example.psnr_db
      ? ` ${example.psnr_db[column].toFixed(2)} dB, SSIM ${example.ssim[column].toFixed(4)}`
      : "";
  }

  function imageOf(example, column) {
    const name = isBlinking && column === "student" ? "input" : column;
    return data.images[example.images[name]];
  }

  function drawExample() {
    const example = shown[current];
    const columns = data.columns.filter((column) => column in example.images);
    panes.style.setProperty("--count", columns.length);
    panes.replaceChildren(...columns.map((column) => {
      const image = element("img", {
        src: imageOf(example, column), alt: `${column}: ${example.name}`, draggable: false,
      });
      image.dataset.column = column;
      return element("figure", { className: "pane" },
        element("figcaption", {},
          element("b", { textContent: column }), scores(example, column)),
        element("div", { className: "window" }, image));
    }));
    byId("case").replaceChildren(
      element("span", {
        className: "rank" + (example.is_failure ? " bad" : ""), textContent: example.rank,
      }),
      `${example.protocol}: ${example.name}, student ${signed(example.change_db)} dB`);
    byId("place").textContent = `${current + 1} of ${shown.length}`;
    for (const [index, item] of [...byId("strip").children].entries())
      item.firstChild.setAttribute("aria-current", String(index === current));
    drawPlace();
  }

  function drawPlace() {
    const half = 0.5 / zoom;
    for (const axis of ["x", "y"])
      centre[axis] = Math.min(Math.max(centre[axis], half), 1 - half);
    const left = (centre.x - half) * 100 * zoom;
    const top = (centre.y - half) * 100 * zoom;
    for (const image of panes.querySelectorAll("img")) {
      image.style.transform = `translate(${-left}%, ${-top}%) scale(${zoom})`;
      image.parentElement.classList.toggle("zoomed", zoom > 1);
    }
    byId("zoom").textContent = `${Number(zoom.toFixed(1))}×`;
  }

  function zoomTo(next, at = centre) {
    next = Math.min(Math.max(next, 1), MOST_ZOOM);
    // What is under the pointer stays there.
    centre = {
      x: at.x + (centre.x - at.x) * zoom / next,
      y: at.y + (centre.y - at.y) * zoom / next,
    };
    zoom = next;
    drawPlace();
  }

  function move(x, y) {
    centre = { x: centre.x + x / zoom, y: centre.y + y / zoom };
    drawPlace();
  }

  function reset() {
    centre = { x: 0.5, y: 0.5 };
    zoomTo(1);
  }

  function blink(isOn) {
    isBlinking = isOn;
    byId("blink").setAttribute("aria-pressed", String(isOn));
    for (const image of panes.querySelectorAll("img"))
      image.src = imageOf(shown[current], image.dataset.column);
  }

  function go(to) {
    current = (to + shown.length) % shown.length;
    drawExample();
    const item = byId("strip").children[current];
    const strip = byId("strip");
    strip.scrollLeft = item.offsetLeft - strip.offsetLeft - strip.clientWidth / 2;
  }

  function choose() {
    const protocol = byId("protocol").value;
    const kind = byId("kind").value;
    const chosen = data.cases.filter((example) =>
      (!protocol || example.protocol === protocol) && (!kind || example.kind === kind));
    const isEmpty = chosen.length === 0;
    shown = isEmpty ? data.cases : chosen;
    if (isEmpty) byId("protocol").value = byId("kind").value = "";
    byId("strip").replaceChildren(...shown.map((example, index) => {
      const thumbnail = element("img", {
        src: data.images[example.images.student], alt: "", width: 64, height: 64,
      });
      const button = element("button", { type: "button" }, thumbnail);
      button.setAttribute("aria-label", `${example.protocol}, ${example.rank}: ${example.name}`);
      button.addEventListener("click", () => go(index));
      return element("li", {}, button);
    }));
    reset();
    go(0);
  }

  // A place in a pane's window, in shares of the picture.
  function placeOf(event, frame) {
    const box = frame.getBoundingClientRect();
    return {
      x: centre.x + ((event.clientX - box.left) / box.width - 0.5) / zoom,
      y: centre.y + ((event.clientY - box.top) / box.height - 0.5) / zoom,
    };
  }

  const frameOf = (event) => event.target.closest(".window");

  panes.addEventListener("wheel", (event) => {
    // Scrolling past must stay possible: the wheel zooms once the viewer has the focus.
    const frame = frameOf(event);
    if (!frame || !(event.ctrlKey || panes.contains(document.activeElement))) return;
    event.preventDefault();
    zoomTo(zoom * STEP ** (event.deltaY < 0 ? 0.5 : -0.5), placeOf(event, frame));
  }, { passive: false });

  panes.addEventListener("dblclick", (event) => {
    const frame = frameOf(event);
    if (frame) zoomTo(zoom * STEP * STEP, placeOf(event, frame));
  });

  panes.addEventListener("pointerdown", (event) => {
    const frame = frameOf(event);
    if (!frame || event.button !== 0) return;
    panes.focus({ preventScroll: true });
    if (zoom === 1) return;
    const box = frame.getBoundingClientRect();
    let last = { x: event.clientX, y: event.clientY };
    frame.setPointerCapture(event.pointerId);
    frame.classList.add("held");
    const drag = (moved) => {
      move((last.x - moved.clientX) / box.width, (last.y - moved.clientY) / box.height);
      last = { x: moved.clientX, y: moved.clientY };
    };
    const release = () => {
      frame.classList.remove("held");
      frame.removeEventListener("pointermove", drag);
      frame.removeEventListener("pointerup", release);
      frame.removeEventListener("pointercancel", release);
    };
    frame.addEventListener("pointermove", drag);
    frame.addEventListener("pointerup", release);
    frame.addEventListener("pointercancel", release);
  });

  const keys = {
    "+": () => zoomTo(zoom * STEP),
    "=": () => zoomTo(zoom * STEP),
    "-": () => zoomTo(zoom / STEP),
    "0": reset,
    ArrowLeft: () => move(-0.1, 0),
    ArrowRight: () => move(0.1, 0),
    ArrowUp: () => move(0, -0.1),
    ArrowDown: () => move(0, 0.1),
    n: () => go(current + 1),
    p: () => go(current - 1),
    b: () => blink(true),
  };

  panes.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    // At the whole picture the arrows have nothing to move: they scroll the page.
    if (!act || (event.key.startsWith("Arrow") && zoom === 1)) return;
    event.preventDefault();
    if (!(event.repeat && event.key.toLowerCase() === "b")) act();
  });
  panes.addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() === "b") blink(false);
  });
  panes.addEventListener("blur", () => blink(false));

  byId("in").addEventListener("click", () => zoomTo(zoom * STEP));
  byId("out").addEventListener("click", () => zoomTo(zoom / STEP));
  byId("reset").addEventListener("click", reset);
  byId("blink").addEventListener("click", () => blink(!isBlinking));
  byId("next").addEventListener("click", () => go(current + 1));
  byId("previous").addEventListener("click", () => go(current - 1));
  byId("protocol").addEventListener("change", choose);
  byId("kind").addEventListener("change", choose);

  const protocols = [...new Set(data.cases.map((example) => example.protocol))];
  fill(byId("protocol"), [["", "all"], ...protocols.map((name) => [name, name])]);
  const kinds = [...new Set(data.cases.map((example) => example.kind))];
  fill(byId("kind"), [["", "all"], ...kinds.map((name) => [name, name])]);
  choose();
})();

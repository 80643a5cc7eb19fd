// Without JavaScript every picture is there once, nothing can be sorted, and all pictures of a slider are visible.
document.documentElement.classList.add("scripted");

// A picture that stands again on the page: taken from where it first stands
for (const image of document.querySelectorAll("img[data-same]")) {
  image.src = document.querySelector(`img[data-picture="${image.dataset.same}"]`).src;
}

// Shows one of the pictures that are all in the page already
for (const slider of document.querySelectorAll(".slider")) {
  const range = slider.querySelector("input[type=range]");
  const scene = slider.querySelector("select");
  const value = slider.querySelector("output");
  const steps = JSON.parse(slider.dataset.steps);
  const show = () => {
    value.textContent = steps[range.value];
    range.setAttribute("aria-valuetext", steps[range.value]);
    for (const figure of slider.querySelectorAll("[data-scene]")) {
      const step = figure.dataset.step;
      figure.hidden = figure.dataset.scene !== scene.value || (step !== "" && step !== range.value);
    }
  };
  range.addEventListener("input", show);
  scene.addEventListener("change", show);
  slider.querySelector(".controls").hidden = false;
  show();
}

// Order of the scenes, and which of them are shown
for (const list of document.querySelectorAll(".scenes:has(> .controls)")) {
  const scenes = [...list.querySelectorAll(":scope > .scene")];
  const knobs = Object.fromEntries([...list.querySelectorAll("[data-knob]")].map((one) => [one.dataset.knob, one]));
  const orders = {
    worst: (a, b) => a.dataset.order - b.dataset.order,
    best: (a, b) => b.dataset.order - a.dataset.order,
    spread: (a, b) => b.dataset.spread - a.dataset.spread || a.dataset.order - b.dataset.order,
  };
  const show = () => {
    for (const key of ["labels", "fails"]) {
      for (const scene of scenes) {
        const has = !knobs[key].value || JSON.parse(scene.dataset[key]).includes(knobs[key].value);
        scene.hidden = (key === "fails" && scene.hidden) || !has;
      }
    }
    list.append(...scenes.sort(orders[knobs.order.value]));
    const count = list.querySelector("output");
    const shown = scenes.filter((one) => !one.hidden).length;
    count.textContent = count.dataset.count.replace("{shown}", shown).replace("{all}", scenes.length);
  };
  for (const knob of Object.values(knobs)) knob.addEventListener("change", show);
  list.querySelector(".controls").hidden = false;
  show();
}

// Two pictures of a scene in one frame, with a divider
const closer = document.querySelector("dialog.closer");
const place = closer.querySelector("input");
const choices = closer.querySelectorAll("select");
let figures = [];
const divide = () => closer.style.setProperty("--at", `${place.value}%`);
const fill = () => {
  for (const select of choices) {
    const side = closer.querySelector(`.side[data-side="${select.dataset.side}"]`);
    side.replaceChildren(...[...figures[select.value].querySelector(".frame").children].map((one) => one.cloneNode(true)));
  }
};
const enlarge = (scene, right) => {
  figures = [...scene.querySelectorAll("figure")];
  const names = figures.map((one) => one.querySelector("b").textContent);
  for (const select of choices) {
    select.replaceChildren(...names.map((name, index) => new Option(name, index)));
  }
  const left = right === 0 ? Math.min(1, figures.length - 1) : 0;
  [choices[0].value, choices[1].value] = right === 0 ? [0, left] : [left, right];
  place.value = 50;
  divide();
  fill();
  closer.showModal();
  place.focus();
};
for (const select of choices) select.addEventListener("change", fill);
place.addEventListener("input", divide);
closer.querySelector(".frame").addEventListener("pointermove", (event) => {
  if (event.pointerType === "touch" || event.buttons) {
    const frame = closer.querySelector(".frame").getBoundingClientRect();
    place.value = (100 * (event.clientX - frame.left)) / frame.width;
    divide();
  }
});
closer.addEventListener("click", (event) => event.target === closer && closer.close());
for (const scene of document.querySelectorAll(".scene")) {
  const button = scene.querySelector(".enlarge");
  button.addEventListener("click", () => enlarge(scene, Math.min(1, scene.querySelectorAll("figure").length - 1)));
  button.hidden = false;
  [...scene.querySelectorAll("figure")].forEach((figure, index) =>
    figure.querySelector(".frame").addEventListener("click", () => enlarge(scene, index)),
  );
}

// A link into a fold opens it; on paper all folds are open
const unfold = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  target.hidden = false;
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});

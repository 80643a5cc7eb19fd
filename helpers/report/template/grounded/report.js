// Shows one of the pictures that are all in the page already; without JavaScript they are simply all visible.
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

/* Runs once when the page is up: keys of the whole page, names and roles that Gradio's own parts lack, and what lets a
   question wait for files that are still on their way. */
() => {
  const names = { "#settings": "Settings", "#conversations": "Conversations" };
  const mend = () => {
    for (const [where, name] of Object.entries(names)) {
      const button = document.querySelector(`${where} .toggle-button`);
      if (button && button.title !== name) { button.title = name; button.setAttribute("aria-label", name); }
    }
    for (const list of document.querySelectorAll("#chat .examples[role=list]")) list.setAttribute("role", "group");
    for (const arrow of document.querySelectorAll("#chat .title[role=button] .arrow:not([inert])")) arrow.inert = true;
  };
  mend();
  let asked = 0;
  new MutationObserver(() => { cancelAnimationFrame(asked); asked = requestAnimationFrame(mend); })
    .observe(document.body, { childList: true, subtree: true });
  /* Files are dropped, sent, and then read by an event of their own; a question that came between would miss them. */
  const files = { dropped: 0, reading: 0 };
  const wait = () => new Promise((go) => setTimeout(go, 50));
  let started = false; // what the browser left is shown; an earlier change would be lost under it
  const dropped = (event) => { if (event.target.closest?.("#files")) files.dropped = performance.now(); };
  for (const name of ["drop", "change"]) document.addEventListener(name, dropped, true);
  const sending = () => document.querySelector("#files .uploading, #files .progress, #files [role=progressbar]");
  const underWay = () => {
    if (files.dropped && performance.now() - files.dropped > 2000 && !sending()) files.dropped = 0; // it was refused
    return files.dropped || files.reading;
  };
  window.consilium = {
    start() { started = true; },
    async reading() { files.dropped = 0; files.reading += 1; while (!started) await wait(); },
    read() { files.reading = Math.max(0, files.reading - 1); },
    async settled() { while (!started || underWay()) await wait(); },
  };
  addEventListener("beforeunload", (event) => { // what is being answered is not kept yet
    const stop = document.querySelector("#stop");
    if (stop && !stop.disabled) event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, [contenteditable]");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      document.querySelector("#question textarea")?.focus();
    }
    const stop = document.querySelector("#stop");
    if (event.key === "Escape" && stop && !stop.disabled) stop.click();
  });
}

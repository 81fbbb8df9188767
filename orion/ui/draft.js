/* Sends what is being typed, once typing pauses, through the hidden #draft box of the page. */
(() => {
  const PAUSE_MS = 350;
  const CHARS_MIN = 8;
  const CHARS_MAX = 4000;
  let timer = 0;
  let sent = "";

  const box = () => document.querySelector("#box textarea");

  const send = (text) => {
    const draft = document.querySelector("#draft textarea, #draft input");
    if (!draft || text === sent) return;
    sent = text;
    draft.value = text;
    draft.dispatchEvent(new Event("input", { bubbles: true }));
  };

  const consider = () => {
    const text = (box()?.value ?? "").trim().slice(0, CHARS_MAX);
    send(text.length < CHARS_MIN ? "" : text);
  };

  const forget = () => {
    clearTimeout(timer);
    send("");
  };

  document.addEventListener("input", (event) => {
    if (event.target !== box()) return;
    clearTimeout(timer);
    timer = setTimeout(consider, PAUSE_MS);
  });
  document.addEventListener("keydown", (event) => {
    const sends = event.key === "Enter" && !event.shiftKey && !event.isComposing;
    if (sends && event.target === box()) forget();
  });
  document.addEventListener("click", (event) => {
    if (event.target instanceof Element && event.target.closest("#send, #chat .example")) forget();
  });

  /* The hint is drawn anew each time; it is read aloud only when the agent or its state changes. */
  const said = document.createElement("p");
  said.className = "said";
  said.setAttribute("role", "status");
  const listen = () => {
    const hint = document.querySelector("#hint");
    if (!hint) return false;
    document.body.append(said);
    new MutationObserver(() => {
      const text = hint.querySelector("[data-said]")?.dataset.said ?? "";
      if (text !== said.textContent) said.textContent = text;
    }).observe(hint, { childList: true, subtree: true });
    return true;
  };
  const wait = new MutationObserver(() => listen() && wait.disconnect());
  if (!listen()) wait.observe(document, { childList: true, subtree: true });
})();

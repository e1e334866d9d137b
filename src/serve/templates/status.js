(() => {
// On each change the page is fetched again, and its live parts replace the old ones.
  if (!window.EventSource) return;
  const connection = document.getElementById("connection");
  const say = (text, lost) => {
    if (connection.textContent !== text) connection.textContent = text;
    connection.classList.toggle("lost", lost);
  };
  let asking = false;
  let again = false;
  const renew = async () => {
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    try {
      const answer = await fetch("/", { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const focus = document.activeElement;
      const place = focus && focus.closest("[data-live]") && (focus.id || focus.getAttribute("href"));
      for (const part of document.querySelectorAll("[data-live]")) {
        const next = page.getElementById(part.id);
        for (const details of part.querySelectorAll("details[id]")) {
          const same = next.querySelector(`#${CSS.escape(details.id)}`);
          if (same) same.open = details.open;
        }
        part.replaceWith(next);
      }
      document.title = page.title;
      if (place) {
        const same = document.querySelector(`[id="${CSS.escape(place)}"], [data-live] [href="${CSS.escape(place)}"]`);
        if (same) same.focus({ preventScroll: true });
      }
      say("Live.", false);
    } catch {
      say("Not connected: this page may be out of date. It reconnects automatically.", true);
    } finally {
      asking = false;
      if (again) {
        again = false;
        renew();
      }
    }
  };
  const source = new EventSource("/events");
  source.addEventListener("changed", renew);
  source.addEventListener("error", () => say("Not connected: this page may be out of date. It reconnects automatically.", true));
})();

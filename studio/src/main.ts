// Mounts the frame and shows the page that the address names.

import { confirmedLeave, showRoute } from "./pages/frame";
import { routeOf } from "./routes";
import { session } from "./state/session";

let here = location.hash;

window.addEventListener("hashchange", () => {
  if (location.hash === here) return;
  if (!confirmedLeave()) {
    history.replaceState(null, "", here === "" ? "#/" : here);
    return;
  }
  here = location.hash;
  showRoute(routeOf(here));
});

// A key that was given or taken away changes what every page may show.
let key = session.get().key;
session.watch((now) => {
  if (now.key === key) return;
  key = now.key;
  showRoute(routeOf(location.hash));
});

showRoute(routeOf(here));

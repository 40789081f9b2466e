// Keeps the app itself, so that it opens without the server. The data is kept by the app (assets/app/store.js), and
// calls of the API are never answered from here.
const CACHE = "app";
const ROOT = ["/", "/manifest.webmanifest"];
const LATER = ["/assets/vendor/marked.js"]; // what the page asks for when it needs it

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(precache());
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const { origin, pathname } = new URL(url);
  const isApp = method === "GET" && origin === location.origin && (ROOT.includes(pathname) || pathname.startsWith("/assets/"));
  if (isApp) event.respondWith(fresh(event.request, pathname));
});

/** Everything that the page names, and the page. */
async function precache() {
  const page = await (await fetch("/")).text();
  const named = [...page.matchAll(/(?:href|src)="(\/assets\/[^"]+)"/g)].map((match) => match[1]);
  const cache = await caches.open(CACHE);
  await cache.addAll([...ROOT, ...LATER, ...new Set(named)]);
}

/** From the server, which knows by ETag what is still good; from the cache when it is away. */
async function fresh(request, pathname) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(pathname, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(pathname);
    if (kept) return kept;
    throw error;
  }
}

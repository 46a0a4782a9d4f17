// The extension's background: a service worker in Chromium, an event page in
// Firefox. Every listener is added in the first turn.
chrome.runtime.onMessage.addListener((_message, _sender, reply) => {
  reply({ ok: false, error: { kind: 'usage', message: 'not written yet' } })
})

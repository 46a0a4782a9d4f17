/** The ways by which a browser comes to a page, honest and not: what is paid twice, or not at all. */
import assert from 'node:assert/strict'
import { arrived, type Attack } from '../../hostile.js'

const pixel = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64')

const parts = Array.from({ length: 60 }, (_, i) => `/paid/part-${i}.${['png', 'js', 'css'][i % 3]}`)

export const navigating: Attack[] = [
  {
    title: 'a page of sixty paid parts is loaded completely, and each part is paid once',
    pages: {
      '/paid/sixty': `<!doctype html><html lang="en"><title>sixty</title><link rel="icon" href="data:,">${parts.map(path =>
        path.endsWith('.png') ? `<img src="${path}" alt="">` : path.endsWith('.js') ? `<script src="${path}"></script>` : `<link rel="stylesheet" href="${path}">`).join('')}`,
      ...Object.fromEntries(parts.map(path => [path, (_request, response) => {
        const type = path.endsWith('.png') ? 'image/png' : path.endsWith('.js') ? 'text/javascript' : 'text/css'
        response.setHeader('Content-Type', type)
        response.end(type === 'image/png' ? pixel : type === 'text/css' ? `:root { --${path.replace(/\W/g, '-')}: 1 }` : 'globalThis.ran = (globalThis.ran ?? 0) + 1')
      }] satisfies [string, Attack['pages'][string]])),
    },
    payments: 61,
    async run(at) {
      const page = await at.visit('/paid/sixty')
      await page.until('globalThis.ran === 20', 20)
      await page.until('[...document.images].filter(image => image.naturalWidth > 0).length === 20', 20)
      await page.until('[...document.styleSheets].filter(sheet => sheet.cssRules.length === 1).length === 20', 20)
      for (const path of parts) assert.equal(at.requests(path).length, 1, path)
    },
  },
  {
    title: 'Back leads to the page before, and its second reading is free',
    pages: { '/paid/first': '<!doctype html><html lang="en"><title>first</title><a href="/paid/second">on</a>', '/paid/second': '<!doctype html><html lang="en"><title>second</title>' },
    payments: 2,
    async run(at) {
      const page = await at.visit('/paid/first')
      await page.until("document.title === 'first'")
      await page.click('a')
      await page.until("document.title === 'second'")
      await page.back()
      await page.until("document.title === 'first'")
    },
  },
  {
    title: 'a page that is loaded again within a minute is paid once',
    pages: {},
    payments: 1,
    async run(at) {
      const page = await at.visit('/paid/again')
      await page.until("document.title === '/paid/again'")
      for (let i = 0; i < 3; i++) {
        await page.reload()
        await page.until("document.title === '/paid/again'")
      }
    },
  },
  {
    title: 'a site with a service worker of its own is paid and shown',
    pages: {
      '/app': `<!doctype html><html lang="en"><title>app</title><script>
        navigator.serviceWorker.register('/sw.js').then(() => navigator.serviceWorker.ready).then(() => { document.title = 'ready' })
      </script>`,
      '/sw.js': (_request, response) => {
        response.setHeader('Content-Type', 'text/javascript')
        response.end(`addEventListener('install', () => skipWaiting())
          addEventListener('activate', event => event.waitUntil(clients.claim()))
          addEventListener('fetch', event => event.respondWith(fetch(event.request)))`)
      },
    },
    payments: 1,
    async run(at) {
      const page = await at.visit('/app')
      await page.until("document.title === 'ready' && navigator.serviceWorker.controller !== null")
      await page.goto(`${at.origin}/paid/in-app`)
      await page.until("document.title === '/paid/in-app' && navigator.serviceWorker.controller !== null")
    },
  },
  {
    title: 'a form that was sent is not sent again by a payment',
    pages: {
      '/form': '<!doctype html><html lang="en"><title>form</title><form method="post" action="/paid/post"><button>send</button></form>',
    },
    async run(at) {
      const page = await at.visit('/form')
      await page.click('button')
      await page.until("document.title !== 'form' && document.readyState === 'complete'")
      assert.equal(at.requests('/paid/post').length, 0)
    },
  },
  {
    title: 'a download is paid once',
    pages: {
      '/paid/file.bin': (_request, response) => {
        response.setHeader('Content-Type', 'application/octet-stream')
        response.setHeader('Content-Disposition', 'attachment; filename="file.bin"')
        response.end('bytes')
      },
    },
    payments: 1,
    async run(at) {
      await at.visit('/paid/file.bin')
      await arrived(at, '/paid/file.bin')
    },
  },
  {
    title: 'the source of a paid page is not paid for',
    only: 'chromium',
    pages: {},
    async run(at) {
      await at.visit(`view-source:${at.origin}/paid/source`)
      assert.equal(at.requests('/paid/source').length, 0)
    },
  },
  {
    title: 'two tabs at once pay for what each shows, and no number twice',
    pages: {},
    payments: 8,
    async run(at) {
      const tabs = await Promise.all(Array.from({ length: 8 }, (_, i) => at.visit(`/paid/tab-${i}`)))
      // Firefox shows one tab at a time, and only what is looked at is paid for.
      for (const [i, tab] of tabs.entries()) {
        await tab.show()
        await tab.until(`document.title === '/paid/tab-${i}'`, 20)
      }
    },
  },
]

/** Rows 40 to 42: what is not the site in the address bar, or not the one that was allowed. */
import assert from 'node:assert/strict'
import { arrived, assertNoPayment, type Attack, challengePage, forgeChallenge, forged } from '../../hostile.js'

/** Loads the parts that stand in `#others` from `from`, and says when each has ended. */
function embed(from: string): string {
  return `<!doctype html><html lang="en"><title>embed</title><div id="others"></div><script>
    const from = ${from}
    const ends = []
    for (const [tag, name, path] of [['iframe', 'src', '/forged/frame'], ['img', 'src', '/forged/image'], ['script', 'src', '/forged/script']]) {
      const element = document.createElement(tag)
      ends.push(new Promise(end => { element.onload = element.onerror = end }))
      element[name] = from + path
      document.getElementById('others').append(element)
    }
    ends.push(fetch(from + '/forged/fetch', { mode: 'no-cors' }).catch(() => {}))
    const worker = URL.createObjectURL(new Blob(['fetch("' + from + '/forged/worker", { mode: "no-cors" }).catch(() => {}).then(() => postMessage(0))'], { type: 'text/javascript' }))
    ends.push(new Promise(end => { new Worker(worker).onmessage = end }))
    Promise.all(ends).then(() => { document.title = 'all' })
  </script>`
}

const embedded = {
  '/forged/frame': forged(), '/forged/image': forged(), '/forged/script': forged(),
  '/forged/fetch': forged(), '/forged/worker': forged(),
}

export const foreign: Attack[] = [
  {
    title: 'frames, images, scripts and workers of another site get nothing on an allowed page',
    pages: {
      '/embed': (_request, response, { stranger }) => response.end(embed(JSON.stringify(stranger))),
    },
    strangers: embedded,
    async run(at) {
      const page = await at.visit('/embed')
      await page.until("document.title === 'all'")
      assertNoPayment(at, ...Object.keys(embedded))
      for (const path of Object.keys(embedded)) await arrived(at, path, 1, at.stranger)
    },
  },
  {
    title: 'an allowed site gets nothing for its parts on a page of another site',
    pages: embedded,
    strangers: {
      '/embed': (_request, response, { stranger: allowed }) => response.end(embed(JSON.stringify(allowed))),
    },
    async run(at) {
      const page = await at.visit(`${at.stranger}/embed`)
      await page.until("document.title === 'all'")
      for (const path of Object.keys(embedded)) await arrived(at, path)
      assertNoPayment(at, ...Object.keys(embedded))
    },
  },
  {
    title: 'a frame has no bridge, and the page around it none for the frame',
    pages: {
      '/outer': (_request, response, { stranger }) => response.end(`<!doctype html><html lang="en"><title>outer</title><script>
        addEventListener('message', event => { if (event.data === 'none') document.title = 'none ' + ++none })
        let none = 0
      </script><iframe src="/inner"></iframe><iframe src="${stranger}/inner"></iframe>`),
      '/inner': inner(),
    },
    strangers: { '/inner': inner() },
    async run(at) {
      const page = await at.visit('/outer')
      await page.until("document.title === 'none 2'")
    },
  },
  {
    title: 'a redirect of a paid page to another site takes no payment along',
    pages: {
      '/paid/away': (_request, response, { stranger }) => {
        response.writeHead(302, { Location: `${stranger}/collect` })
        response.end()
      },
    },
    strangers: { '/collect': '<!doctype html><html lang="en"><title>collected</title>' },
    payments: 1,
    async run(at) {
      const page = await at.visit('/paid/away')
      await page.until("document.title === 'collected'")
      assert.ok(at.requests('/collect', at.stranger).length > 0)
      assertNoPayment(at, '/collect')
    },
  },
  {
    title: 'a free page that redirects to another site brings it nothing',
    pages: {
      '/away': (_request, response, { stranger }) => {
        response.writeHead(302, { Location: `${stranger}/forged/collect` })
        response.end()
      },
    },
    strangers: { '/forged/collect': forged() },
    async run(at) {
      const page = await at.visit('/away')
      await page.until("document.title === '402'")
      assertNoPayment(at, '/forged/collect')
    },
  },
  {
    title: 'a site that the owner did not allow asks, and gets nothing',
    limits: false,
    pages: { '/forged/page': forged() },
    async run(at) {
      await at.visit('/forged/page')
      const page = await at.visit('/paid/page')
      assert.equal(await page.evaluate("performance.getEntriesByType('navigation')[0].responseStatus"), 402)
      assertNoPayment(at, '/forged/page')
    },
  },
  {
    title: 'the same port under another name of this machine is another site',
    pages: {},
    strangers: { '/forged/twin': forged() },
    async run(at) {
      // The gate of localhost, asked by the number, and the other way round.
      const { port } = new URL(at.stranger)
      await at.visit(`http://127.0.0.1:${port}/forged/twin`)
      await at.visit(`${at.stranger}/forged/twin`)
      await arrived(at, '/forged/twin', 1, at.stranger)
      assertNoPayment(at, '/forged/twin')
    },
  },
  {
    title: 'a challenge that names the site that was allowed is worth nothing elsewhere',
    pages: {},
    strangers: {
      '/forged/as-allowed': (request, response, { origin, stranger: allowed, broker }) => {
        response.statusCode = 402
        const challenge = forgeChallenge({ url: `${request.url === '/forged/as-allowed' ? allowed : origin}/paid/x`, broker, recipient: allowed })
        response.end(challengePage(challenge))
      },
    },
    async run(at) {
      await at.visit(`${at.stranger}/forged/as-allowed`)
      await arrived(at, '/forged/as-allowed', 1, at.stranger)
      assertNoPayment(at, '/forged/as-allowed')
    },
  },
  {
    title: 'names that only look like an origin cannot be allowed',
    pages: {},
    async run(at) {
      const { port } = new URL(at.origin)
      const lookalikes = [
        'http://news.example', 'https://news.example/', 'https://news.example/path', 'https://NEWS.example', 'https://news.example:443',
        'https://reader@news.example', 'https://n\u0435ws.example', 'https://news.example.', 'https://*.example.com', 'null', '', 'file://', 'data:,x', '*',
        'https://*.example', `http://127.1:${port}`, `http://0.0.0.0:${port}`, `http://[::1]:${port}`, `ws://127.0.0.1:${port}`,
        at.owner.browser.extensionOrigin, '__proto__', 'constructor',
      ]
      for (const origin of lookalikes) {
        await assert.rejects(at.owner.allow(origin, { perRequest: '1', perDay: '1', total: '1' }), { name: 'WorkerError' }, origin)
      }
      assert.ok((await at.owner.overview()).sites.every(site => !lookalikes.includes(site.origin)))
    },
  },
]

/** Asks for the extension's payer, and tells the page around what came. */
function inner(): string {
  return `<!doctype html><html lang="en"><title>inner</title><script src="/payword.js"></script><script>
    payword.extensionPayer().then(payer => parent.postMessage(payer === undefined ? 'none' : 'some', '*'))
  </script>`
}

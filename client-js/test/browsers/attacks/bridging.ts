/** Rows 43 and 45: what a page says to the extension, and what it would like to read. */
import assert from 'node:assert/strict'
import { arrived, assertNoPayment, type Attack, challengePage, forgeChallenge, forged } from '../../hostile.js'

/** Posts a call to the bridge as `src/extension_payer.ts` does, and resolves with the answer's text, or '' after 40 tasks without one. */
const speak = `
  function nonce() {
    return btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16)))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
  }
  async function raw(message) {
    let answer = ''
    const hear = event => { if (event.data?.to === 'page' && event.data.nonce === message.nonce) answer = event.data.text }
    addEventListener('message', hear)
    postMessage(message, location.origin)
    const fence = await speak({ method: 'account', arguments: [] })
    removeEventListener('message', hear)
    return fence === '' ? 'no fence' : answer
  }
  function speak(call) {
    const own = nonce()
    return new Promise(resolve => {
      addEventListener('message', function hear(event) {
        if (event.data?.to !== 'page' || event.data.nonce !== own) return
        removeEventListener('message', hear)
        resolve(event.data.text)
      })
      postMessage({ payword: 'bridge-1', to: 'extension', nonce: own, text: typeof call === 'string' ? call : JSON.stringify(call) }, location.origin)
    })
  }
  const most = '999999999999'
  const budget = { perRequest: most, perSite: most, perDay: most, total: most }
  function take(offer, terms) {
    return speak({ method: 'take', arguments: [
      { origin: location.origin, vendor: location.origin, price: '1000', currency: 'usd-micro', maxStep: 4096, unreserved: false, ...offer },
      { budget, fingerprint: 'GET ' + nonce(), ...terms } ] }).then(JSON.parse)
  }
`

/** Runs code in a page that can speak to the bridge; its result becomes the title. */
function speaking(code: string): string {
  return `<!doctype html><html lang="en"><title>speaking</title><script>${speak}
    (async () => { ${code} })().then(said => { document.title = 'said ' + said }, error => { document.title = 'failed ' + error })
  </script>`
}

export const bridging: Attack[] = [
  {
    title: 'a page cannot take a payment for another origin, another vendor, or a price that is none',
    pages: {
      '/take': (_request, response, { stranger }) => response.end(speaking(`
        const wrong = [
          { origin: ${JSON.stringify(stranger)} }, { origin: ${JSON.stringify(stranger)}, vendor: ${JSON.stringify(stranger)} },
          { vendor: ${JSON.stringify(stranger)} }, { vendor: 'https://news.example' }, { vendor: '__proto__' }, { origin: 'null' },
          { price: '-1000' }, { price: 1000 }, { price: '1e3' }, { price: '50001' }, { price: '999999999999999' }, { price: '9'.repeat(400) },
          { currency: 'eur-micro' }, { currency: '__proto__' }, { maxStep: -1 }, { maxStep: 0.5 }, { maxStep: '4096' }, { unreserved: 'yes' },
        ]
        const granted = []
        for (const each of wrong) if ((await take(each)).ok) granted.push(JSON.stringify(each))
        return granted.length === 0 ? 'nothing' : granted.join(' ')
      `)),
    },
    strangers: {},
    async run(at) {
      const page = await at.visit('/take')
      await page.until("document.title !== 'speaking'", 20)
      assert.equal(await page.evaluate('document.title'), 'said nothing')
    },
  },
  {
    title: 'a page cannot call what is the owner\'s, nor what every object has',
    pages: {
      '/call': speaking(`
        const names = ['overview', 'backup', 'export', 'receipts', 'allow', 'changeSite', 'setLimits', 'restore', 'remove', 'payOnce', 'create', 'statement',
          'constructor', '__proto__', 'toString', 'hasOwnProperty', 'valueOf', 'challenge', 'loaded', 'parts', 'bridge', 'hello2', '', 'seed', 'ask', 'close']
        const answered = []
        for (const method of names) {
          const text = await raw({ payword: 'bridge-1', to: 'extension', nonce: nonce(), text: JSON.stringify({ method, arguments: [{ sent: {} }] }) })
          if (text !== '' && JSON.parse(text).ok) answered.push(method)
        }
        return answered.length === 0 ? 'nothing' : answered.join(' ')
      `),
    },
    async run(at) {
      const page = await at.visit('/call')
      await page.until("document.title !== 'speaking'", 20)
      assert.equal(await page.evaluate('document.title'), 'said nothing')
    },
  },
  {
    title: 'messages with foreign members, prototypes or sizes are not heard, or change nothing',
    pages: {
      '/shapes': speaking(`
        const offer = { origin: location.origin, vendor: location.origin, price: '1000', currency: 'usd-micro', maxStep: 4096, unreserved: false }
        const text = '{"method":"take","arguments":[' + JSON.stringify(offer).slice(0, -1) + ',"__proto__":{"polluted":"yes"}},{"fingerprint":"x","__proto__":{"budget":1}}]}'
        const calls = [text, '{"__proto__":{"method":"account"},"arguments":[]}', '{"method":"account","arguments":{"length":0}}', '[]', 'null', '"account"', '', '{',
          '{"method":"account","arguments":[],"origin":"https://news.example"' + ' '.repeat(200000) + '}', '{"method":["account"],"arguments":[]}']
        let answered = 0
        for (const each of calls) {
          const heard = await raw({ payword: 'bridge-1', to: 'extension', nonce: nonce(), text: each })
          if (heard !== '' && JSON.parse(heard).ok) answered++
        }
        const shapes = [null, 1, 'x', [], { payword: 'bridge-1' }, { payword: 'bridge-1', to: 'extension', nonce: 'short', text: '{}' },
          { payword: 'bridge-1', to: 'extension', nonce: nonce(), text: { method: 'account', arguments: [] } },
          { type: 'overview', sent: {} }, { payword: 'bridge-1', to: 'page', nonce: nonce(), text: '{"ok":true}' }]
        for (const each of shapes) postMessage(each, location.origin)
        await speak({ method: 'account', arguments: [] })
        return answered + ' ' + String({}.polluted)
      `),
    },
    async run(at) {
      const page = await at.visit('/shapes')
      await page.until("document.title !== 'speaking'", 20)
      assert.equal(await page.evaluate('document.title'), 'said 0 undefined')
    },
  },
  {
    title: 'a page that takes payments and throws them away loses its own limit',
    limits: { perRequest: '1000', perDay: '20000', total: '50000' },
    control: 'before',
    pages: {
      '/waste': speaking(`
        const answers = await Promise.all(Array.from({ length: 40 }, () => take({})))
        return answers.filter(each => each.ok).length
      `),
    },
    payments: 4,
    async run(at) {
      const page = await at.visit('/waste')
      await page.until("document.title !== 'speaking'", 20)
      assert.equal(await page.evaluate('document.title'), 'said 4')
    },
  },
  {
    title: 'a page that takes back what it sent already gets nothing more by it',
    limits: { perRequest: '1000', perDay: '20000', total: '50000' },
    control: 'before',
    pages: {
      '/back': speaking(`
        const all = []
        for (let i = 0; i < 40; i++) {
          const answer = await take({})
          if (!answer.ok) continue
          const payment = answer.result.payment
          all.push(payment.commitmentId + payment.chain + ' ' + payment.index)
          await speak({ method: 'takeBack', arguments: [answer.result] })
          await speak({ method: 'giveBack', arguments: [answer.result, '1000', location.href] })
          await speak({ method: 'refused', arguments: [answer.result, { reason: 'used', price: '0' }] })
          await speak({ method: 'lose', arguments: [answer.result, true] })
        }
        return new Set(all).size <= 4 ? 'few' : [...new Set(all)].join(', ')
      `),
    },
    payments: 4,
    async run(at) {
      const page = await at.visit('/back')
      await page.until("document.title !== 'speaking'", 20)
      assert.equal(await page.evaluate('document.title'), 'said few')
    },
  },
  {
    title: 'a page that was answered 200 cannot have itself paid by a challenge that it forges',
    pages: {
      '/forged/fine': (request, response, { origin, broker }) => {
        response.end(challengePage(forgeChallenge({ url: `${origin}${request.url}`, broker })))
      },
      '/forged/other-status': (request, response, { origin, broker }) => {
        response.statusCode = 403
        response.end(challengePage(forgeChallenge({ url: `${origin}${request.url}`, broker })))
      },
    },
    async run(at) {
      await at.visit('/forged/fine')
      await at.visit('/forged/other-status')
      await arrived(at, '/forged/other-status')
      assertNoPayment(at, '/forged/fine', '/forged/other-status')
    },
  },
  {
    title: 'challenges that do not fit what was asked get nothing',
    pages: Object.fromEntries(([
      { url: 'https://news.example/forged/misfit-0' }, { recipient: 'https://news.example' }, { method: 'POST' }, { currency: 'eur-micro' },
      { amount: '-1' }, { amount: '1e9' }, { amount: '50001' }, { amount: '999999999999999' }, { broker: 'https://broker.example' },
      { expires: '2020-01-01T00:00:00Z' }, { expires: 'never' }, { recipient: '__proto__' }, { intent: 'gift' },
    ] as const).map((claim, i) => [`/forged/misfit-${i}`, forged(claim)])),
    async run(at) {
      const paths = Array.from({ length: 13 }, (_, i) => `/forged/misfit-${i}`)
      for (const path of paths) await at.visit(path)
      assertNoPayment(at, ...paths)
    },
  },
  {
    title: 'a page has nothing of the extension to read, and no way to its worker',
    pages: {
      '/read': (_request, response) => response.end(speaking(`
        const found = []
        if (globalThis.chrome?.storage || globalThis.browser?.storage) found.push('storage')
        if (globalThis.chrome?.runtime?.id || globalThis.browser?.runtime?.id) found.push('runtime')
        for (const { name } of await indexedDB.databases()) found.push('database ' + name)
        for (let i = 0; i < localStorage.length; i++) found.push('localStorage ' + localStorage.key(i))
        for (const name of Object.getOwnPropertyNames(globalThis)) if (/payword/i.test(name)) found.push('global ' + name)
        const account = await speak({ method: 'account', arguments: [] })
        if (/acct|account"?:"|seed|AGE-|key/i.test(JSON.stringify(JSON.parse(account).result))) found.push(account)
        return found.length === 0 ? 'nothing' : found.join(', ')
      `)),
    },
    async run(at) {
      const page = await at.visit('/read')
      await page.until("document.title !== 'speaking'", 20)
      assert.equal(await page.evaluate('document.title'), 'said nothing')
      for (const file of ['manifest.json', 'popup.html', 'options.html', 'worker.js', 'owner.html']) {
        const fetched = await page.evaluate<string>((url: string) => fetch(url).then(() => 'read', () => 'refused'), `${at.owner.browser.extensionOrigin}/${file}`)
        assert.equal(fetched, 'refused', file)
      }
    },
  },
]

/** Row 39: a site that the owner allowed wants more than it was allowed. */
import assert from 'node:assert/strict'
import { arrived, assertNoPayment, type Attack, forged } from '../../hostile.js'

/** 20 payments a day, and so, by the quarter of it that a minute may have, 5 in one minute. */
const tight = { perRequest: '1000', perDay: '20000', total: '50000' }

/** Runs in a page: pays for as many URLs as it can and says how many that were. */
const payLoop = `<!doctype html><html lang="en"><title>loop</title><script src="/payword.js"></script><script>
(async () => {
  const payer = await payword.extensionPayer()
  const most = 10n ** 12n
  const pay = payword.payFetch({ payer, budget: { perRequest: most, perSite: most, perDay: most, total: most } })
  let paid = 0
  for (let i = 0; i < 30; i++) {
    try {
      const answer = await pay('/paid/loop-' + i)
      if (answer.ok) paid++
    } catch {}
  }
  document.title = 'paid ' + paid
})()
</script>`

export const draining: Attack[] = [
  {
    title: 'a loop of payFetch gets what one minute may have, and no more',
    limits: tight,
    control: 'before',
    pages: { '/loop': payLoop },
    payments: 4,
    async run(at) {
      const page = await at.visit('/loop')
      await page.until("document.title === 'paid 4'", 20)
    },
  },
  {
    title: 'paid pages that each refresh to the next get what one minute may have',
    limits: tight,
    control: 'before',
    pages: Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`/paid/chain-${i}`,
      `<!doctype html><html lang="en"><title>chain ${i}</title><meta http-equiv="refresh" content="0;url=/paid/chain-${i + 1}"><p>Page ${i}.</p>`])),
    payments: 4,
    async run(at) {
      const page = await at.visit('/paid/chain-0')
      // The fifth is the page of the gate, which stays.
      await page.until("location.pathname === '/paid/chain-4' && document.title !== 'chain 4'")
      assert.equal(await page.evaluate("performance.getEntriesByType('navigation')[0].responseStatus"), 402)
    },
  },
  {
    title: 'a site that answers 402 for ever, and goes on to a new address before it is judged, gets three payments, and one for each complaint that came in time',
    control: 'before',
    pages: {
      ...Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`/forged/${i}`,
        forged({}, `<script>if (performance.navigation.type === 1) location.href = '/forged/${i + 1}'</script>`)])),
    },
    payments: 3,
    mayLose: 2,
    async run(at) {
      const page = await at.visit('/forged/0')
      await page.until("/^.forged.[345]$/.test(location.pathname) && document.readyState === 'complete' && performance.navigation.type !== 1")
    },
  },
  {
    title: 'a hundred frames of paid pages get nothing',
    pages: {
      '/frames': `<!doctype html><html lang="en"><title>frames</title><script>
        let done = 0
        for (let i = 0; i < 100; i++) {
          const frame = document.createElement('iframe')
          frame.onload = frame.onerror = () => { if (++done === 100) document.title = 'all' }
          frame.src = (i % 2 ? '/paid/frame-' : '/forged/frame?') + i
          document.documentElement.append(frame)
        }
      </script>`,
      '/forged/frame': forged(),
    },
    async run(at) {
      const page = await at.visit('/frames')
      await page.until("document.title === 'all'", 20)
      await arrived(at, '/forged/frame', 50)
      assertNoPayment(at, '/forged/frame')
    },
  },
  {
    title: 'speculation rules that prefetch get nothing',
    only: 'chromium',
    pages: { '/prefetch': speculate('prefetch'), '/forged/speculated': forged() },
    async run(at) {
      await at.visit('/prefetch')
      await arrived(at, '/forged/speculated')
      assert.match(String(at.requests('/forged/speculated')[0]?.headers['sec-purpose']), /prefetch/)
      assertNoPayment(at, '/forged/speculated')
    },
  },
  {
    title: 'speculation rules that prerender get nothing',
    only: 'chromium',
    pages: { '/prerender': speculate('prerender'), '/forged/speculated': forged() },
    async run(at) {
      await at.visit('/prerender')
      await arrived(at, '/forged/speculated')
      assert.match(String(at.requests('/forged/speculated')[0]?.headers['sec-purpose']), /prerender/)
      assertNoPayment(at, '/forged/speculated')
    },
  },
  {
    title: 'links with prefetch and preload of paid pages get nothing',
    pages: {
      '/links': `<!doctype html><html lang="en"><title>links</title><link rel="prefetch" href="/forged/linked">
        <link rel="preload" as="fetch" href="/forged/preloaded" crossorigin>`,
      '/forged/linked': forged(),
      '/forged/preloaded': forged(),
    },
    async run(at) {
      await at.visit('/links')
      await arrived(at, '/forged/linked')
      assertNoPayment(at, '/forged/linked')
    },
  },
  {
    title: 'a page that opens windows of paid pages without being asked gets nothing, or its minute',
    limits: tight,
    control: 'before',
    pages: {
      '/windows': `<!doctype html><html lang="en"><title>windows</title><script>
        let blocked = 0
        for (let i = 0; i < 20; i++) if (window.open('/paid/window-' + i) === null) blocked++
        document.title = 'blocked ' + blocked
      </script>`,
    },
    async run(at) {
      const page = await at.visit('/windows')
      await page.until("document.title === 'blocked 20'")
    },
  },
  {
    title: 'a page that rewrites its address, and forges a challenge, gets nothing',
    pages: {
      '/rewritten': `<!doctype html><html lang="en"><title>rewritten</title><script>
        for (let i = 0; i < 20; i++) history.pushState(null, '', '/paid/pushed-' + i)
        fetch('/free/challenge').then(answer => answer.text()).then(text => {
          const element = document.createElement('script')
          element.type = 'application/payword+json'
          element.textContent = text
          document.head.append(element)
          document.title = 'forged'
        })
      </script>`,
      '/free/challenge': '{}',
    },
    async run(at) {
      const page = await at.visit('/rewritten')
      await page.until("document.title === 'forged'")
      for (let i = 0; i < 3; i++) await page.evaluate('history.back()')
      await page.until("location.pathname === '/paid/pushed-16'")
    },
  },
]

function speculate(kind: 'prefetch' | 'prerender'): string {
  return `<!doctype html><html lang="en"><title>${kind}</title><script type="speculationrules">
    {"${kind}": [{"source": "list", "urls": ["/forged/speculated", "/paid/speculated"], "eagerness": "immediate"}]}
  </script>`
}

/** Rows 46 and 47: prices that are raised or bait, and payments for which nothing comes. */
import assert from 'node:assert/strict'
import { eventually } from '../../browsers.js'
import { arrived, assertNoPayment, type Attack, forged, type Place, sentPayword, type SiteAnswer } from '../../hostile.js'

/** Asks `first` without a payment, and answers whoever brings one in another way. */
function turncoat(first: SiteAnswer, then: SiteAnswer): SiteAnswer {
  return (request, response, at) => {
    const answer = !request.headers['x-sent'] ? first : then
    if (typeof answer === 'string') response.end(answer)
    else answer(request, response, at)
  }
}

function status(code: number, body = ''): SiteAnswer {
  return (_request, response) => {
    response.statusCode = code
    response.end(body)
  }
}

/** How many payments the requests for a path brought: the same one may be sent again. */
function paid(at: Place, path: string): number {
  return new Set(at.requests(path).map(sentPayword).filter(field => field !== '')).size
}

async function stopped(at: Place): Promise<string | undefined> {
  const { sites } = await at.owner.overview()
  return sites.find(site => site.origin === at.origin)?.stopped
}

export const quoting: Attack[] = [
  {
    title: 'a price that is raised between the quote and the payment is not paid',
    control: 'before',
    pages: { '/forged/raised': turncoat(forged(), forged({ amount: '40000' })) },
    payments: 1,
    async run(at) {
      await at.visit('/forged/raised')
      await eventually('the payment arrives', async () => paid(at, '/forged/raised') > 0)
      for (const request of at.requests('/forged/raised')) assert.match(sentPayword(request), /^$|max=1000\b/)
    },
  },
  {
    title: 'what the page says of its price counts for nothing: above the limit for one request nothing is paid',
    pages: { '/forged/bait': forged({ amount: '50001', description: 'One page for 0.001 USD' }, '<p>This page costs 0.001 USD.</p>') },
    async run(at) {
      await at.visit('/forged/bait')
      await arrived(at, '/forged/bait')
      assertNoPayment(at, '/forged/bait')
    },
  },
  {
    title: 'an empty page is paid once, by whoever opens it',
    pages: { '/paid/empty': status(200) },
    payments: 1,
    async run(at) {
      const page = await at.visit('/paid/empty')
      await eventually('the payment arrives', async () => at.requests('/paid/empty').length === 1)
      await page.until("document.readyState === 'complete' && document.body.textContent === ''")
    },
  },
  {
    title: '402 for ever costs one payment, however often the page loads itself',
    pages: {
      '/forged/for-ever': forged({}, `<script>
        const loads = Number(sessionStorage.getItem('loads')) + 1
        sessionStorage.setItem('loads', loads)
        if (loads > 1 && loads < 6) location.reload()
      </script>`),
    },
    payments: 1,
    async run(at) {
      await at.visit('/forged/for-ever')
      await eventually('the payment arrives', async () => paid(at, '/forged/for-ever') > 0)
      await arrived(at, '/forged/for-ever', 6)
      assert.equal(paid(at, '/forged/for-ever'), 1)
    },
  },
  {
    title: '503 for ever costs one payment',
    control: 'before',
    pages: { '/forged/out-of-order': turncoat(forged(), status(503, '<!doctype html><title>503</title><p>Out of order.')) },
    payments: 1,
    async run(at) {
      const page = await at.visit('/forged/out-of-order')
      await eventually('the payment arrives', async () => paid(at, '/forged/out-of-order') > 0)
      for (let i = 0; i < 2; i++) await page.goto(`${at.origin}/forged/out-of-order`)
      assert.equal(paid(at, '/forged/out-of-order'), 1)
    },
  },
  {
    title: 'what a page cost that failed is credit for the next',
    pages: { '/paid/fails': status(500, '<!doctype html><title>broken</title><p>Broken.') },
    async run(at) {
      const page = await at.visit('/paid/fails')
      await arrived(at, '/paid/fails')
      // The answer is still on its way: to load the page again now would break that off.
      await page.until("document.title === 'broken' && document.readyState === 'complete'")
      await page.reload()
      await arrived(at, '/paid/fails', 2)
    },
  },
  {
    title: 'three payments for nothing stop the site, until its owner allows it again',
    control: 'before',
    pages: Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`/forged/nothing-${i}`, forged()])),
    payments: 3,
    async run(at) {
      for (let i = 0; i < 3; i++) {
        const page = await at.visit(`/forged/nothing-${i}`)
        await eventually('the payment arrives', async () => paid(at, `/forged/nothing-${i}`) === 1)
        // A page in the background says nothing of what it got, and is judged two minutes later.
        await page.until("performance.getEntriesByType('navigation')[0].type === 'reload' && document.readyState === 'complete'")
      }
      await eventually('the site is stopped', async () => await stopped(at) === 'not-served')
      await at.visit('/forged/nothing-3')
      await at.visit('/forged/nothing-4')
      assertNoPayment(at, '/forged/nothing-3', '/forged/nothing-4')
    },
  },
]

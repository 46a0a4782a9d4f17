import { currencyCode, formatDecimal } from '../amount.js'
import { UsageError, cut } from './arguments.js'
import { moment, withWallet, writeJSON, writeTable, type Call } from './command.js'

/** How many of the newest receipts are listed unless --count says otherwise. */
const shownReceipts = 10

/** `payword history` */
export async function history(one: Call): Promise<undefined> {
  const text = one.arguments.values.get('count') ?? String(shownReceipts)
  if (!/^[1-9][0-9]{0,3}$/.test(text)) throw new UsageError(`--count ${cut(text)}: want a number from 1 to 9999`)
  await withWallet(one, async wallet => {
    const summary = await wallet.summary()
    if (one.isJSON) return writeJSON(one.streams.stdout, summary)
    if (summary.currency === undefined) return void one.streams.stdout.write('There is no account yet: payword open BROKER\n')
    const code = currencyCode(summary.currency)
    writeTable(one.streams.stdout, summary.history.slice(-Number(text)).map(receipt => [
      moment(receipt.time), `${receipt.returned ? `-${formatDecimal(receipt.returned)}` : formatDecimal(receipt.amount)} ${code}`, receipt.url,
    ]))
    one.streams.stdout.write(`Spent ${formatDecimal(summary.spent)} ${code} in all, ${formatDecimal(summary.spentToday)} today (UTC).\n`)
  })
}

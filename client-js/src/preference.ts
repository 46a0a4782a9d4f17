/**
 * Returns how much a client that sent these Accept-Payment fields wants to pay with
 * the payword method and an intent, in thousandths: 0 never, 1000 gladly, which is
 * also what no field or one that cannot be read means. docs/protocol.md, section 8.5.
 */
export function paymentPreference(fields: string[], intent: string): number {
  let [best, specific] = [-1, 0]
  const trim = (text: string): string => text.replace(/^[ \t]+|[ \t]+$/g, '')
  for (const item of fields.join(',').split(',').map(trim).filter(text => text !== '')) {
    const [name = '', ...parameters] = item.split(';')
    const range = /^([^/]*)\/(.*)$/s.exec(trim(name))
    const quality = parseQuality(trim(parameters.join(';')))
    if (!range || quality === undefined) return 1000
    const match = specificity(range[1] ?? '', range[2] ?? '', intent)
    if (match === 0) best = Math.max(best, 0)
    if (match > specific) [specific, best] = [match, quality]
  }
  return best < 0 ? 1000 : best
}

/** 0 if a range does not match; more, the more exactly it does. */
function specificity(method: string, wanted: string, intent: string): number {
  if (method !== 'payword' && method !== '*' || wanted !== intent && wanted !== '*') return 0
  return 1 + (method === 'payword' ? 2 : 0) + (wanted === intent ? 1 : 0)
}

/** Reads `q=0.5` as 500; nothing is 1000. */
function parseQuality(text: string): number | undefined {
  if (text === '') return 1000
  const parts = /^q=([01])(?:\.([0-9]{0,3}))?$/.exec(text)
  const thousandths = Number(`${parts?.[1]}${(parts?.[2] ?? '').padEnd(3, '0')}`)
  return parts && thousandths <= 1000 ? thousandths : undefined
}

import type { SiteLimits } from '../src/messages.js'
import { element } from './element.js'
import { makeAmountField, readAll } from './field.js'
import { text } from './language.js'

/** Fields for the three limits of a site, or of all sites together. */
export interface LimitFields {
  root: HTMLElement
  /** The limits if all are right; else undefined, and the fields say what is wrong. */
  read(): SiteLimits | undefined
}

/** Makes the fields, filled in. A limit that another one makes useless is a mistake, and one for a request below `price`, in micros. */
export function makeLimitFields(limits: SiteLimits, currency: string, legend: string, price = '0'): LimitFields {
  const fields = {
    perRequest: makeAmountField({ label: text('limit_per_request'), value: limits.perRequest, currency }),
    perDay: makeAmountField({ label: text('limit_per_day'), value: limits.perDay, currency }),
    total: makeAmountField({ label: text('limit_total'), value: limits.total, currency }),
  }
  const root = element('fieldset', { class: 'limits' }, element('legend', {}, legend),
    fields.perRequest.root, fields.perDay.root, fields.total.root)
  const read = (): SiteLimits | undefined => {
    const found = readAll(fields)
    if (!found) return undefined
    if (BigInt(found.perRequest) < BigInt(price)) {
      fields.perRequest.complain(text('question_below_price'))
      fields.perRequest.input.focus()
      return undefined
    }
    const tooHigh = BigInt(found.perRequest) > BigInt(found.perDay) ? fields.perRequest
      : BigInt(found.perDay) > BigInt(found.total) ? fields.perDay : undefined
    if (!tooHigh) return found
    tooHigh.complain(text(tooHigh === fields.perRequest ? 'limit_above_day' : 'limit_above_total'))
    tooHigh.input.focus()
    return undefined
  }
  return { root, read }
}

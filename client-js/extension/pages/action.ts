import { element } from './element.js'
import { text } from './language.js'
import { describe, showProblem } from './problem.js'

/** A place beside a button where it is said what came of it. Screen readers are told as it changes. */
export function statusArea(): HTMLElement {
  return element('div', { class: 'status', role: 'status' })
}

/** Says a sentence in an area, or nothing. */
export function say(area: HTMLElement, sentence: string): void {
  showProblem(area, undefined)
  if (sentence !== '') area.append(element('p', {}, sentence))
}

/**
 * Does `work` when a button is pressed or a form is sent, once at a time, and
 * says in `area` what it returned or why it failed. The button keeps the focus
 * while it works: one that is disabled would lose it.
 */
export function onAction(trigger: HTMLButtonElement | HTMLFormElement, area: HTMLElement, work: () => Promise<string | undefined>): void {
  let isWorking = false
  const kind = trigger instanceof HTMLFormElement ? 'submit' : 'click'
  trigger.addEventListener(kind, event => {
    event.preventDefault()
    if (isWorking) return
    isWorking = true
    trigger.setAttribute('aria-busy', 'true')
    say(area, '')
    const slow = setTimeout(() => { say(area, text('working')) }, 400)
    void work()
      .finally(() => { clearTimeout(slow) })
      .then(sentence => { say(area, sentence ?? '') })
      .catch((error: unknown) => { showProblem(area, describe(error)) })
      .finally(() => {
        isWorking = false
        trigger.removeAttribute('aria-busy')
      })
  })
}

/** A button that does not send a form. */
export function button(label: string, attributes: Record<string, string> = {}): HTMLButtonElement {
  return element('button', { type: 'button', ...attributes }, label)
}

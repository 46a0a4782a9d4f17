import { ask } from './worker.js'
import { onAction } from './action.js'
import { text } from './language.js'

/** Makes a button that pauses and resumes all payments; `done` shows what is so now. */
export function wirePause(pause: HTMLButtonElement, area: HTMLElement, done: () => Promise<void>): (isPaused: boolean) => void {
  let isPaused = false
  onAction(pause, area, async () => {
    await ask('pause', { isPaused: !isPaused })
    await done()
    return text(isPaused ? 'paused_now' : 'resumed_now')
  })
  return now => {
    isPaused = now
    pause.textContent = text(now ? 'resume_all' : 'pause_all')
  }
}


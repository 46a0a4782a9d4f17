import { link, mkdir, readFile, rmdir, stat, unlink, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { setTimeout as wait } from 'node:timers/promises'

import { toBase64url } from './encoding.js'
import { PaywordError } from './errors.js'

/** How long a process waits for its turn: others write for some milliseconds. */
const patienceMilliseconds = 30_000
/** Between two looks. */
const pauseMilliseconds = 3
/** How long a process waits for the Go client, whose commands are short. */
const systemPatienceMilliseconds = 5_000
/** Between two looks for it. */
const systemPauseMilliseconds = 20

/** Who has a lock, as its file says. */
interface Holder {
  pid: number
  /** When the process began, as its system says it; '' where that is not known. */
  began: string
  host: string
}

/**
 * Runs `work` while this process alone, of all that use the wallet file at
 * `path`, may write it. The lock is a file, `path.writing`, since Node has no
 * locks of the system; it names its process, so that one which died does not
 * keep the others out. The Go client has the system's lock on `path.lock` for as
 * long as it runs: while it has it, nothing is written here.
 */
export async function withFileLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  const lock = `${path}.writing`
  for (const end = performance.now() + systemPatienceMilliseconds; ;) {
    await acquire(lock)
    try {
      // After the lock is there: the Go client looks for it once it has its own.
      if (!await isLockedBySystem(`${path}.lock`)) return await work()
    } finally {
      await unlink(lock)
    }
    if (performance.now() > end) throw new PaywordError('storage', `the wallet ${path} is open in another program, which has it alone`)
    await wait(systemPauseMilliseconds)
  }
}

async function acquire(lock: string): Promise<void> {
  const own = `${lock}.${process.pid}-${toBase64url(crypto.getRandomValues(new Uint8Array(9)))}`
  const holder: Holder = { pid: process.pid, began: await beganOf(process.pid), host: hostname() }
  await writeFile(own, JSON.stringify(holder), { flag: 'wx', mode: 0o600 })
  try {
    for (const end = performance.now() + patienceMilliseconds; ;) {
      if (await couldLink(own, lock)) return
      if (await breakDead(lock)) continue
      if (performance.now() > end) throw stuck(lock)
      await wait(pauseMilliseconds)
    }
  } finally {
    await unlink(own)
  }
}

/** Makes the lock, whole with its content, unless there is one. */
async function couldLink(own: string, lock: string): Promise<boolean> {
  try {
    await link(own, lock)
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw error
  }
}

function stuck(lock: string): PaywordError {
  return new PaywordError('storage', `the wallet is being written by another program for a long time; if none runs any more, remove ${lock}`)
}

/**
 * Removes a lock whose process died. One process at a time does that, or one
 * could remove the lock that another has taken meanwhile; the directory that says
 * whose turn it is stays only if a process dies within the few calls here, and
 * then dead locks are not removed any more, which is safe.
 */
async function breakDead(lock: string): Promise<boolean> {
  if (!await isDead(lock)) return false
  const turn = `${lock}.breaking`
  try {
    await mkdir(turn)
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw error
  }
  try {
    if (!await isDead(lock)) return false
    await unlink(lock)
    return true
  } finally {
    await rmdir(turn)
  }
}

/** Whether a lock is there and its process certainly is not. One on another machine may be there. */
async function isDead(lock: string): Promise<boolean> {
  let holder: Partial<Holder>
  try {
    holder = JSON.parse(await readFile(lock, 'utf8')) as Partial<Holder>
  } catch {
    return false // it is gone, or is no lock of ours
  }
  if (typeof holder.pid !== 'number' || holder.host !== hostname()) return false
  try {
    process.kill(holder.pid, 0)
  } catch (error) {
    return codeOf(error) === 'ESRCH'
  }
  // The number may be another process's by now.
  const began = await beganOf(holder.pid)
  return began !== '' && !!holder.began && began !== holder.began
}

/** When a process began, in ticks since the system did; '' where that cannot be told. */
async function beganOf(pid: number): Promise<string> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}

/** Whether a process has the system's lock of a file, as far as the system tells: Linux does. */
async function isLockedBySystem(path: string): Promise<boolean> {
  try {
    const [{ ino }, locks] = await Promise.all([stat(path, { bigint: true }), readFile('/proc/locks', 'utf8')])
    return locks.split('\n').some(line => line.includes(' FLOCK ') && line.includes(`:${ino} `))
  } catch {
    return false // there is no such file, or nothing is known of locks here
  }
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown }).code
}

/** Where the agent of a purse card listens, on the owner's own machine: docs/agent.md. */
export const agentOrigin = 'http://127.0.0.1:8417'

/** The agent's token for this extension, in the pages' own storage: no content script reads it. */
const tokenName = 'agent-token'
/** How often a request that waits is looked at, in ms: the holder reads and clicks. */
const pollMs = 500
/** How long one answer of this machine may take, in ms. */
const answerMs = 5_000

/** What a request to the agent has come to: docs/agent.md, "What a site can ask for". */
export interface AgentRequest {
  request: string
  phase: string
  sentence?: string
  amount?: string
}

/** What is asked for: money of a card onto an account. */
export interface Funding {
  gateway: string
  merchant: string
  payee: string
  /** In micros. */
  amount: string
  currency: string
  account: string
}

/**
 * The agent said no, in a sentence of its own (`detail`), or there was no answer
 * (`silent`): then there is no agent, or it does not know this extension and
 * shows no code, which an agent does not let strangers tell apart.
 */
export class AgentError extends Error {
  override readonly name = 'AgentError'
  readonly isSilent: boolean
  readonly status: number

  constructor(message: string, status: number) {
    super(message)
    this.status = status
    this.isSilent = status === 0
  }
}

async function call(method: string, path: string, body?: unknown): Promise<unknown> {
  const headers: Record<string, string> = {}
  const token = localStorage.getItem(tokenName)
  if (token !== null) headers.Authorization = `Bearer ${token}`
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  let answer: Response
  let read: unknown
  try {
    answer = await fetch(agentOrigin + path, {
      method, headers, cache: 'no-store', credentials: 'omit', redirect: 'error', signal: AbortSignal.timeout(answerMs),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    read = await answer.json()
  } catch (cause) {
    throw new AgentError(String(cause), 0)
  }
  if (answer.ok) return read
  const detail = (read as { detail?: unknown } | null)?.detail
  throw new AgentError(typeof detail === 'string' ? detail.slice(0, 500) : '', answer.status)
}

/** Whether this extension was paired with an agent; the agent may have forgotten it since. */
export function isPaired(): boolean {
  return localStorage.getItem(tokenName) !== null
}

/** Whether an agent answers that knows this extension. */
export async function isThere(): Promise<boolean> {
  if (!isPaired()) return false
  try {
    await call('GET', '/v1/requests/none')
    return true
  } catch (error) {
    // A paired site is told that there is no such request.
    return error instanceof AgentError && error.status === 404
  }
}

/** Exchanges the eight digits that the agent shows for its token. */
export async function pair(code: string): Promise<void> {
  const { token } = await call('POST', '/v1/pairings', { code }) as { token: string }
  localStorage.setItem(tokenName, token)
}

/** Asks the holder, by the agent, to put money of the card onto the account; `told` hears of every change until the end. */
export async function fund(funding: Funding, told: (state: AgentRequest) => void): Promise<AgentRequest> {
  let state = await call('POST', '/v1/requests', { intent: 'fund', ...funding, reference: 'payword extension' }) as AgentRequest
  for (;;) {
    told(state)
    if (state.phase !== 'waiting' && state.phase !== 'working') return state
    await new Promise(resolve => { setTimeout(resolve, pollMs) })
    state = await call('GET', `/v1/requests/${encodeURIComponent(state.request)}`) as AgentRequest
  }
}

/** Takes a request back that still waits for the holder. */
export async function withdraw(request: string): Promise<AgentRequest> {
  return await call('DELETE', `/v1/requests/${encodeURIComponent(request)}`) as AgentRequest
}

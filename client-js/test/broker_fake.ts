import { createHash, randomBytes } from 'node:crypto'
import { signCertificate, type Certificate } from '../src/certificate.js'
import { parseCommitment } from '../src/commitment.js'
import { signerFromSecret, thumbprint, type Brokers, type Signer } from '../src/keys.js'
import { Refusal } from '../src/reason.js'
import { signReservation } from '../src/reservation.js'
import { parseSignatureInput, verifyRequest } from '../src/signature.js'

/** One certificate that the broker gave. */
interface Pseudonym {
  subject: string
  key: string
  isRevoked: boolean
}

/** What the broker answers: a status and JSON. */
type Answer = [status: number, body: unknown]

/**
 * A broker in memory with one account, built from the protocol's own parsers. Its
 * hooks let it refuse, lie, and lose answers after it did the work.
 */
export class FakeBroker {
  readonly origin = 'https://broker.example'
  readonly asked: string[] = []
  balance = 100_000_000n
  reserved = 0n
  /** Of certificates, in micros and seconds. */
  limit = 50_000_000n
  lifeSeconds = 30 * 86_400
  /** Answers instead, if it returns something. */
  before: (method: string, path: string) => Response | undefined = () => undefined
  /** Changes an answer. */
  edit: (path: string, answer: Answer) => Answer = (_, answer) => answer
  /** Does the work of so many requests, and loses the answer. */
  loseAnswers = 0
  readonly #now: () => number
  readonly #signer: Signer
  readonly brokers: Brokers
  #account: string | undefined
  readonly #pseudonyms: Pseudonym[] = []
  readonly #reservations = new Map<string, { commitment: string, reservation: string, reserved: string, paid: string, closed: boolean }>()
  readonly #nonces = new Set<string>()

  private constructor(now: () => number, signer: Signer) {
    this.#now = now
    this.#signer = signer
    this.brokers = new Map([[this.origin, new Map([[thumbprint(signer.publicKey), signer.publicKey]])]])
  }

  /** `now` is in seconds since 1970. */
  static async start(now: () => number): Promise<FakeBroker> {
    return new FakeBroker(now, await signerFromSecret(randomBytes(32)))
  }

  /** How often a path was asked by a method. */
  count(method: string, path: string): number {
    return this.asked.filter(one => one === `${method} ${path}`).length
  }

  revokeAll(): void {
    for (const one of this.#pseudonyms) one.isRevoked = true
  }

  readonly fetch: typeof fetch = async (input, init) => {
    const request = new Request(input, init)
    const url = new URL(request.url)
    this.asked.push(`${request.method} ${url.pathname}`)
    if (url.origin !== this.origin) throw new TypeError('fetch failed: no such host')
    const answered = this.before(request.method, url.pathname)
    if (answered) return answered
    const body = await request.text()
    const [status, answer] = this.edit(url.pathname, await this.#serve(request, url, body))
    if (this.loseAnswers > 0) {
      this.loseAnswers--
      throw new TypeError('fetch failed: the connection broke')
    }
    return new Response(answer === undefined ? null : JSON.stringify(answer), { status, headers: { 'Content-Type': 'application/json' } })
  }

  async #serve(request: Request, url: URL, text: string): Promise<Answer> {
    const body = text === '' ? {} : JSON.parse(text) as Record<string, unknown>
    const key = `${request.method} ${url.pathname}`
    if (key === 'POST /v1/challenges') return [200, { challenge: 'fresh', expires: this.#now() + 60 }]
    const signedBy = key === 'POST /v1/accounts' ? (body.key as { x: string }).x : this.#account
    if (!signedBy) return refusal('unknown-account')
    if (!await this.#isSigned(request, text, signedBy)) return refusal('bad-signature')
    switch (key) {
      case 'POST /v1/accounts':
        this.#account ??= signedBy
        return [200, this.#accountAnswer()]
      case 'GET /v1/account': return [200, this.#accountAnswer()]
      case 'POST /v1/certificates': return this.#certify((body.keys as { x: string }[]).map(({ x }) => x))
      case 'GET /v1/certificates':
        return [200, { certificates: this.#pseudonyms.map(one => ({ subject: one.subject, keyId: thumbprint(one.key), revoked: one.isRevoked })) }]
      case 'POST /v1/renewals': return this.#renew(body.subjects as string[])
      case 'POST /v1/revocations':
        this.revokeAll()
        return [200, { revoked: this.#pseudonyms.length }]
      case 'POST /v1/reservations': return this.#reserve(String(body.commitment), BigInt(String(body.amount)))
      case 'GET /v1/reservations': return [200, { reservations: [...this.#reservations.values()] }]
      case 'POST /v1/account/vouchers':
        this.balance += 1_000_000n
        return [200, { amount: '1000000', account: this.#accountAnswer() }]
      default: return [404, {}]
    }
  }

  #accountAnswer(): unknown {
    return { account: 'account1', currency: 'usd-micro', available: String(this.balance), reserved: String(this.reserved), credit: '0', state: 'open' }
  }

  async #isSigned(request: Request, text: string, key: string): Promise<boolean> {
    const parts = parseSignatureInput(request.headers.get('Signature-Input') ?? '')
    if (parts instanceof Refusal || this.#nonces.has(parts.nonce)) return false
    this.#nonces.add(parts.nonce)
    const digest = `sha-256=:${createHash('sha256').update(text).digest('base64')}:`
    const signed = { method: request.method, targetUri: request.url, digest, ...parts }
    return await verifyRequest(signed, key, request.headers.get('Signature') ?? '', this.#now()) === undefined
  }

  async #certify(keys: string[]): Promise<Answer> {
    const certificates: string[] = []
    for (const key of keys) {
      const known = this.#pseudonyms.find(one => one.key === key) ?? { subject: `user${this.#pseudonyms.length}`, key, isRevoked: false }
      if (!this.#pseudonyms.includes(known)) this.#pseudonyms.push(known)
      certificates.push((await this.#certificate(known)).token)
    }
    return [200, { certificates }]
  }

  async #renew(subjects: string[]): Promise<Answer> {
    const found = subjects.map(subject => this.#pseudonyms.find(one => one.subject === subject)!)
    if (found.some(({ isRevoked }) => isRevoked)) return refusal('certificate-revoked')
    return [200, { certificates: await Promise.all(found.map(async one => (await this.#certificate(one)).token)) }]
  }

  #certificate({ subject, key }: Pseudonym): Promise<Certificate> {
    return signCertificate({
      issuer: this.origin, subject, key, issuedAt: this.#now(), expires: this.#now() + this.lifeSeconds,
      id: randomBytes(16).toString('base64url'), currency: 'usd-micro', limit: this.limit,
    }, this.#signer)
  }

  async #reserve(token: string, amount: bigint): Promise<Answer> {
    const commitment = await parseCommitment(token, this.brokers)
    if (commitment instanceof Refusal) return refusal(commitment.reason)
    if (this.#pseudonyms.find(one => one.subject === commitment.certificate.subject)?.isRevoked) return refusal('certificate-revoked')
    const known = this.#reservations.get(commitment.id)
    if (known) return [200, { reservation: known.reservation }]
    if (amount > this.balance) return refusal('insufficient-funds')
    this.balance -= amount
    this.reserved += amount
    const { token: reservation } = await signReservation({
      issuer: this.origin, commitment: commitment.id, amount, currency: 'usd-micro', sequence: 1, issuedAt: this.#now(),
      redeemBy: commitment.expires + 86_400,
    }, this.#signer)
    this.#reservations.set(commitment.id, { commitment: token, reservation, reserved: String(amount), paid: '0', closed: false })
    return [200, { reservation }]
  }
}

function refusal(reason: string): Answer {
  return [reason === 'bad-signature' ? 401 : 403, { reason, detail: 'because' }]
}

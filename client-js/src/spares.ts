import { wrongAnswer, type BrokerClient, type Question } from './broker.js'
import { unverifiedCertificate, type Certificate } from './certificate.js'
import type { HeldCertificate } from './document.js'
import { publicJwk, thumbprint } from './keys.js'
import type { Secret } from './secret.js'

/** How many certificates are fetched when there is none left. */
export const spareCount = 4
/** How many certificates one request asks for, at most. */
export const maxCertificatesPerRequest = 16

/** The account for which certificates are asked for. */
export interface Asking {
  broker: string
  currency: string
  client: BrokerClient
  secret: Secret
}

/**
 * Asks for a certificate for each of `count` keys from number `first` on, and
 * checks what comes. Rejects with a BrokerError.
 */
export async function requestCertificates(asking: Asking, first: number, count: number, prefixes: string[]): Promise<HeldCertificate[]> {
  const { broker, secret } = asking
  const numbers = Array.from({ length: count }, (_, k) => first + k)
  const keys = await Promise.all(numbers.map(async number => (await secret.certificate(number)).publicKey))
  const question: Question = {
    action: 'asking for certificates', method: 'POST', path: '/v1/certificates',
    body: { keys: keys.map(publicJwk), ...prefixes.length > 0 ? { prefixes } : {} },
    // If the answer is lost, asking again gives the same ones. The account's other
    // devices number theirs as this one does.
    idempotencyKey: `certificates-${thumbprint(keys[0]!)}-${count}`,
  }
  const certificates = await askForCertificates(asking, question, count)
  return certificates.map((certificate, k) => {
    if (certificate.key !== keys[k]) throw wrongAnswer(broker, question.action, 'a certificate is for another key')
    return { key: numbers[k]!, certificate: certificate.token }
  })
}

/** Gets another certificate for each pseudonym, under the same keys, and checks what comes. Rejects with a BrokerError. */
export async function renewCertificates(asking: Asking, held: HeldCertificate[]): Promise<HeldCertificate[]> {
  const olds = held.map(one => unverifiedCertificate(one.certificate))
  const question: Question = {
    action: 'renewing certificates', method: 'POST', path: '/v1/renewals', body: { subjects: olds.map(({ subject }) => subject) },
  }
  const renewed = await askForCertificates(asking, question, held.length)
  return renewed.map((certificate, k) => {
    if (certificate.subject !== olds[k]!.subject || certificate.key !== olds[k]!.key) {
      throw wrongAnswer(asking.broker, question.action, 'a certificate is another one than was to be renewed')
    }
    return { key: held[k]!.key, certificate: certificate.token }
  })
}

async function askForCertificates({ broker, currency, client }: Asking, question: Question, count: number): Promise<Certificate[]> {
  const wrong = (detail: string) => wrongAnswer(broker, question.action, detail)
  const answer = await client.ask(broker, question) as { certificates?: unknown } | undefined
  const tokens: unknown[] = Array.isArray(answer?.certificates) ? answer.certificates : []
  if (tokens.length !== count) throw wrong(`it gave ${tokens.length} certificates for ${count}`)
  return tokens.map(token => {
    let certificate: Certificate
    try {
      certificate = unverifiedCertificate(String(token))
    } catch (error) {
      throw wrong((error as Error).message)
    }
    if (certificate.issuer !== broker || certificate.currency !== currency) {
      throw wrong('a certificate is by another broker or in another currency than the account')
    }
    return certificate
  })
}

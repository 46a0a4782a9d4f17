import { currencyCode, formatDecimal, parseAmount, parseCurrency, parseDecimal } from '../../src/amount.js'
import { Chain, deriveBySeed, deriveTip, tailHash, walk } from '../../src/chain.js'
import { fromBase64url, toBase64url } from '../../src/encoding.js'
import { checkPublicKey, parseJWKS, thumbprint } from '../../src/keys.js'
import { checkOrigin } from '../../src/origin.js'
import { attempt } from './inputs.js'
import { testVectors } from './vectors.js'

testVectors<{ operation: string, text: string }>('amounts', ({ operation, text }) => attempt(() => {
  switch (operation) {
    case 'parse': return { amount: parseAmount(text) }
    case 'parse-decimal': return { amount: parseDecimal(text) }
    case 'format-decimal': return { decimal: formatDecimal(parseAmount(text)) }
    case 'parse-currency': return { code: currencyCode(parseCurrency(text)) }
    default: throw new Error(`operation ${operation}`)
  }
}))

testVectors<{ origin: string }>('origins', ({ origin }) => attempt(() => checkOrigin(origin)))

interface ChainInput {
  operation: string
  seed: string
  nonce: string
  vendor: string
  chain: number
  length: number
  steps: number
  payword: string
  indices: number[]
}

testVectors<ChainInput>('chains', input => attempt(async () => {
  switch (input.operation) {
    case 'walk': return { payword: toBase64url(walk(fromBase64url(input.payword), input.steps)) }
    case 'tail-hash': return { tailHash: toBase64url(tailHash(fromBase64url(input.payword))) }
    case 'derive': {
      const derive = await deriveBySeed(fromBase64url(input.seed))
      const tip = await deriveTip(derive, input.vendor, fromBase64url(input.nonce), input.chain, input.length)
      const chain = Chain.prepare(tip, input.length, input.indices[0])
      const paywords = input.indices.map(index => ({ index, payword: toBase64url(chain.release(index)) }))
      return { tip: toBase64url(tip), paywords }
    }
    default: throw new Error(`operation ${input.operation}`)
  }
}))

testVectors<{ operation: string, key: string, document: string }>('keys', ({ operation, key, document }) => attempt(() => {
  switch (operation) {
    case 'thumbprint':
      checkPublicKey(fromBase64url(key))
      return { thumbprint: thumbprint(key) }
    case 'check': return checkPublicKey(fromBase64url(key))
    case 'jwks': return { keys: parseJWKS(document) }
    default: throw new Error(`operation ${operation}`)
  }
}))

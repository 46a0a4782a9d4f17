export type { Payer } from './payer.js'

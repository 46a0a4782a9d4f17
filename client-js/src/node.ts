export * from './index.js'
export { FileStorage } from './storage_file.js'

// The page of a kiosk: it shows what the server says, one screen at a time, and
// tells it what somebody did at that screen. It keeps nothing.

const lostAfter = 15_000 // three heartbeats of the server, in milliseconds
const touchEvery = 5_000

const main = document.getElementById('screen')
let shown = null // { session, number, language } of the screen
let secret = '' // the digits of a PIN: they are never in the document
let lastTouch = 0
let silence = 0

const field = () => document.getElementById('field')

// put replaces the screen, and with it everything that was typed.
function put(html) {
  secret = ''
  main.innerHTML = html
}

function show(event) {
  const next = JSON.parse(event.data)
  const isNew = !shown || shown.number !== next.number || shown.session !== next.session
  shown = next
  document.documentElement.lang = next.language
  document.body.dataset.screen = next.name
  for (const button of document.querySelectorAll('[data-language]')) {
    button.setAttribute('aria-pressed', String(button.dataset.language === next.language))
  }
  put(next.html)
  const heading = main.querySelector('h1')
  document.title = heading ? heading.textContent : ''
  for (const keys of main.querySelectorAll('.keys')) oneTabStop(keys)
  // What is announced first is what the screen is about. A field that is the whole
  // screen is called what the heading says; after a mistake it says what was wrong.
  if (isNew) (main.querySelector('[aria-invalid], [data-first]') ?? heading ?? main).focus()
}

// lose shows nothing of any card while the server cannot be heard.
function lose() {
  if (!shown?.lost) put(document.getElementById('lost-' + document.documentElement.lang).innerHTML)
  document.body.dataset.screen = 'lost'
  shown = { ...shown, number: -1, lost: true }
}

function listen() {
  const events = new EventSource('events')
  const heard = () => {
    clearTimeout(silence)
    silence = setTimeout(() => { events.close(); lose(); listen() }, lostAfter)
  }
  heard()
  events.addEventListener('screen', event => { heard(); show(event) })
  events.addEventListener('alive', heard)
  events.addEventListener('error', () => {
    lose()
    if (events.readyState !== EventSource.CLOSED) return // it tries again by itself
    clearTimeout(silence)
    setTimeout(listen, 2_000)
  })
}

function send(path, body) {
  return fetch(`sessions/${shown.session}/${path}`, { method: 'POST', body, headers: { 'Content-Type': 'text/plain' } }).catch(() => {})
}

// act answers the screen, once: what comes of it is the next screen.
function act(action, body = '') {
  if (!shown || shown.lost) return
  const { session, number } = shown
  const disable = is => { for (const button of main.querySelectorAll('button')) button.setAttribute('aria-disabled', String(is)) }
  disable(true)
  send(`screens/${number}/${action}`, body).then(response => {
    if (!response?.ok && shown.session === session && shown.number === number) disable(false)
  })
}

// touch says that somebody is typing, so that the screen stays. What answers the
// question whether anybody is there goes to the server by itself.
function touch(event) {
  if (document.body.dataset.screen === 'still-there' && (['Enter', ' ', 'Escape'].includes(event.key) || event.type === 'pointerdown')) return
  if (!shown || shown.lost || Date.now() - lastTouch < touchEvery) return
  lastTouch = Date.now()
  send('touch', '')
}

function press(key) {
  const input = field()
  if (input.hasAttribute('data-secret')) return pressSecret(input, key)
  const [start, end] = [input.selectionStart, input.selectionEnd]
  if (key === 'Backspace') input.setRangeText('', start === end ? Math.max(0, start - 1) : start, end, 'end')
  else if (input.value.length < input.maxLength) input.setRangeText(key, start, end, 'end')
  group(input)
}

// pressSecret keeps the digits and shows a dot for each.
function pressSecret(input, key) {
  if (key === 'Backspace') secret = secret.slice(0, -1)
  else if (/^[0-9]+$/.test(key)) secret = (secret + key).slice(0, input.maxLength)
  input.value = '•'.repeat(secret.length)
  const count = document.getElementById('count')
  count.textContent = count.dataset.count.replace('{n}', secret.length)
}

// group puts spaces between the groups of an account, while it is typed at its
// end.
function group(input) {
  if (!input.dataset.groups || input.selectionStart !== input.value.length) return
  const parts = input.value.toLowerCase().replace(/[^a-z0-9]/g, '').slice(0, 16).match(/.{1,4}/g) ?? []
  input.value = parts.join(' ')
}

document.addEventListener('beforeinput', event => {
  if (!event.target.hasAttribute?.('data-secret') || event.inputType === 'insertLineBreak') return // that submits
  event.preventDefault()
  if (event.inputType.startsWith('insert')) pressSecret(event.target, event.data ?? '')
  if (event.inputType.startsWith('delete')) pressSecret(event.target, 'Backspace')
})
document.addEventListener('input', event => { if (event.target === field()) group(event.target) })

document.addEventListener('submit', event => {
  event.preventDefault()
  const input = field()
  const typed = input.hasAttribute('data-secret') ? secret : input.value
  secret = ''
  act(event.target.dataset.action, typed)
})

document.addEventListener('click', event => {
  const button = event.target.closest('button')
  if (!button || button.getAttribute('aria-disabled') === 'true') return
  const { action, value, key, language } = button.dataset
  if (language) send('language', language)
  if (action) act(action, value)
  if (key) press(key)
})

// oneTabStop makes keys one stop of the Tab key: arrows go on from there.
function oneTabStop(keys) {
  [...keys.querySelectorAll('button')].forEach((button, i) => { button.tabIndex = i === 0 ? 0 : -1 })
}

const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 'columns', ArrowUp: '-columns' }

// moveInKeys moves the focus among the keys of a keypad, and others among the
// buttons of the screen.
function moveInKeys(keys, event) {
  const cells = [...keys.children]
  const columns = Number(keys.dataset.columns)
  const step = { columns, '-columns': -columns }[steps[event.key]] ?? steps[event.key]
  let i = cells.indexOf(document.activeElement) + step
  while (cells[i] && cells[i].tagName !== 'BUTTON') i += step
  const next = cells[i]
  if (!next) return
  for (const cell of keys.querySelectorAll('button')) cell.tabIndex = cell === next ? 0 : -1
  next.focus()
  event.preventDefault()
}

function moveInMenu(event) {
  const buttons = [...main.querySelectorAll('button:not([tabindex="-1"])')]
  const step = event.key === 'ArrowDown' || event.key === 'ArrowRight' ? 1 : -1
  const i = buttons.indexOf(document.activeElement)
  const next = buttons[i < 0 ? (step > 0 ? 0 : buttons.length - 1) : i + step]
  if (!next) return
  next.focus()
  event.preventDefault()
}

document.addEventListener('keydown', event => {
  touch(event)
  if (event.key === 'Escape') {
    const way = main.querySelector('[data-action="back"]') ?? main.querySelector('[data-action="end"]')
    if (way) way.click()
  } else if (/^[0-9]$/.test(event.key) && field() && document.activeElement.tagName !== 'INPUT') {
    field().focus() // the digit goes there
  } else if (event.key in steps && !['INPUT'].includes(document.activeElement.tagName)) {
    const keys = document.activeElement.closest('.keys')
    if (keys) moveInKeys(keys, event)
    else if (!document.activeElement.closest('.scroll')) moveInMenu(event)
  }
})
document.addEventListener('pointerdown', touch)
document.addEventListener('contextmenu', event => event.preventDefault())

listen()

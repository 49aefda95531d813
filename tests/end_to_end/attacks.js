// What a page of another site tries. Each returns what it could read. t has the addresses at the target to read and to
// make something, its websocket and an icon, the body of what is made, and the attacker's own site.

const JSON_TYPE = {'Content-Type': 'application/json'}
const SEND = {method: 'POST', credentials: 'include'}

const wait = milliseconds => new Promise(done => setTimeout(done, milliseconds))
const text = async answer => (await answer).text()

function load(tag, name, address) {
  return new Promise(done => {
    const element = document.createElement(tag)
    element.rel = 'stylesheet'
    element.onload = element.onloadeddata = () => done('loaded')
    element.onerror = () => done('')
    element[name] = address
    document.body.append(element)
    setTimeout(() => done(''), 1000)
  })
}

function framed(tag, address) {
  return new Promise(done => {
    const frame = document.createElement(tag)
    frame[tag === 'object' ? 'data' : 'src'] = address
    frame.onerror = () => done('')
    frame.onload = () => { try { done(frame.contentDocument.body.innerText) } catch { done('') } }
    document.body.append(frame)
    setTimeout(() => done(''), 1000)
  })
}

// Submits a form whose text is the JSON of what is made, into a frame.
function submit(t, type, sandbox) {
  return new Promise(done => {
    const [frame, form, input] = ['iframe', 'form', 'input'].map(tag => document.createElement(tag))
    frame.name = t.make
    if (sandbox) frame.sandbox = sandbox
    Object.assign(form, {method: 'POST', action: t.make, enctype: type, target: t.make})
    Object.assign(input, {name: t.body.slice(0, -1) + ', "x": "', value: '"}'})
    form.append(input)
    document.body.append(frame, form)
    frame.onload = () => { try { done(frame.contentDocument.body.innerText) } catch { done('') } }
    setTimeout(() => done(''), 1000)
    form.submit()
  })
}

function talk(address, protocols) {
  return new Promise(done => {
    const socket = new WebSocket(address, protocols)
    socket.onopen = () => done('opened')
    socket.onerror = () => done('')
  })
}

const ATTACKS = {
  fetch: t => text(fetch(t.read)),
  fetch_with_cookies: t => text(fetch(t.read, {credentials: 'include'})),
  fetch_same_origin: t => text(fetch(t.read, {mode: 'same-origin'})),
  fetch_no_cors: t => text(fetch(t.read, {mode: 'no-cors', credentials: 'include'})),
  fetch_no_referrer: t => text(fetch(t.read, {referrerPolicy: 'no-referrer', credentials: 'include'})),
  post_json: t => text(fetch(t.make, {...SEND, body: t.body, headers: JSON_TYPE})),
  post_text: t => text(fetch(t.make, {...SEND, body: t.body})),
  post_no_cors: t => text(fetch(t.make, {...SEND, body: t.body, mode: 'no-cors'})),
  post_blob: t => text(fetch(t.make, {...SEND, body: new Blob([t.body]), mode: 'no-cors'})),
  post_keepalive: t => text(fetch(t.make, {...SEND, body: t.body, mode: 'no-cors', keepalive: true})),
  post_forged_headers: t =>
    text(fetch(t.make, {...SEND, body: t.body, mode: 'no-cors', headers: {Origin: new URL(t.make).origin}})),
  post_redirected: t => text(fetch(t.redirect, {...SEND, body: t.body, credentials: 'omit'})),
  post_redirected_no_cors: t => text(fetch(t.redirect, {...SEND, body: t.body, mode: 'no-cors'})),
  put: t => text(fetch(t.make, {...SEND, method: 'PUT', body: t.body})),
  delete: t => text(fetch(t.make, {...SEND, method: 'DELETE', body: t.body})),
  xhr: t => {
    const request = new XMLHttpRequest()
    request.open('POST', t.make, false)
    request.withCredentials = true
    request.send(t.body)
    return request.responseText
  },
  beacon: async t => {
    navigator.sendBeacon(t.make, t.body)
    await wait(200)
    return ''
  },
  form_text: t => submit(t, 'text/plain', ''),
  form_urlencoded: t => submit(t, 'application/x-www-form-urlencoded', ''),
  form_sandboxed: t => submit(t, 'text/plain', 'allow-forms allow-scripts'),
  image: t => load('img', 'src', t.icon),
  script: t => load('script', 'src', t.read),
  stylesheet: t => load('link', 'href', t.read),
  video: t => load('video', 'src', t.read),
  frame: t => framed('iframe', t.read),
  frame_of_the_page: t => framed('iframe', new URL(t.read).origin + '/'),
  object: t => framed('object', t.read),
  window: async t => {
    const opened = window.open(t.read)
    await wait(500)
    try { return opened.document.body.innerText } finally { opened.close() }
  },
  events: t => new Promise(done => {
    const source = new EventSource(t.read, {withCredentials: true})
    source.onopen = () => done('opened')
    source.onerror = () => done('')
  }),
  worker: t => new Promise(done => {
    const code = `fetch('${t.read}').then(r => r.text()).then(postMessage).catch(() => postMessage(''))`
    new Worker(URL.createObjectURL(new Blob([code]))).onmessage = event => done(event.data)
  }),
  module: async t => Object.keys(await import(t.read)).join(),
  websocket: t => talk(t.socket, []),
  websocket_of_prefect: t => talk(t.socket, ['prefect']),
}

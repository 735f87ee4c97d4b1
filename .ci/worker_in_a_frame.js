/* Pages that are opened from a disk may start no Worker; the search wants one. This gives it a frame that answers as one. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      const base = new URL(url, document.baseURI)
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      const inside = frame.contentWindow
      const load = (address) => new Promise((loaded, failed) => {
        const script = frame.contentDocument.createElement("script")
        script.src = new URL(address, base).href
        script.onload = loaded
        script.onerror = () => failed(new Error(`cannot load ${script.src}`))
        frame.contentDocument.body.appendChild(script)
      })
      inside.importScripts = (...addresses) =>
        addresses.reduce((before, address) => before.then(() => load(address)), Promise.resolve())
      inside.postMessage = (data) => {
        const event = new MessageEvent("message", { data })
        this.dispatchEvent(event)
        if (this.onmessage) this.onmessage(event)
      }
      this.deliver = (data) => inside.dispatchEvent(new inside.MessageEvent("message", { data }))
      this.terminate = () => frame.remove()
      load(base.href).then(() => {
        const waiting = this.waiting
        this.waiting = null
        waiting.forEach(this.deliver)
      })
    }

    postMessage(data) {
      if (this.waiting) this.waiting.push(data)
      else this.deliver(data)
    }
  }
}

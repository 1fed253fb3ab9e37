// Xen Orchestra's client at work: log in, follow events, export a VM here and import it there.
// Prints what it has seen as one line of JSON.
import { createRequire } from 'node:module'
import { createReadStream, createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { PassThrough } from 'node:stream'
import { pathToFileURL } from 'node:url'

const [modules, sourceUrl, targetUrl, password, vmUuid, file] = process.argv.slice(2)
const require = createRequire(modules + '/')
const { Xapi } = await import(pathToFileURL(require.resolve('xen-api')))
console.warn = () => {}

const open = async url => {
  const xapi = new Xapi({ url, auth: { user: 'root', password }, allowUnauthorized: true })
  await xapi.connect()
  await xapi.objectsFetched
  return xapi
}
const source = await open(sourceUrl)
const target = await open(targetUrl)

const vm = source.getObjectByUuid(vmUuid)
const began = Date.now()
const seen = { types: [...new Set(Object.values(source.objects.all).map(one => one.$type))].sort() }

// an event: what is written comes back as a change of the cached object
await source.call('VM.add_to_other_config', vm.$ref, 'seen-by', 'xo')
await source.barrier()
seen.event = source.getObjectByUuid(vmUuid).other_config['seen-by']

// GET /export into a file, with a task of its own
const response = await source.getResource('/export/', { query: { ref: vm.$ref, use_compression: 'false' } })
await pipeline(response.body, createWriteStream(file))
await response.task

// PUT /import out of a stream whose length is unknown: the client claims 1 PiB and hangs up
const body = createReadStream(file).pipe(new PassThrough())
const [imported] = await target.putResource(body, '/import/', { query: { sr_id: target.pool.default_SR } })
await target.barrier()
seen.imported = target.getObject(imported).name_label

// an import that fails says so in its task
try {
  const broken = createReadStream(file, { end: 1500000 }).pipe(new PassThrough())
  await target.putResource(broken, '/import/', { query: { sr_id: target.pool.default_SR } })
  seen.broken = 'no error'
} catch (error) {
  seen.broken = error.code
}
try {
  await source.getResource('/export/', { query: { ref: 'OpaqueRef:no' } }).then(one => one.task)
  seen.missing = 'no error'
} catch (error) {
  seen.missing = error.code ?? error.message
}
await new Promise(resolve => setTimeout(resolve, 500)) // it destroys its tasks in the background
await source.disconnect()
await target.disconnect()
seen.ms = Date.now() - began
console.log(JSON.stringify(seen))
process.exit(0)

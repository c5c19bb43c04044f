// The keys that the tests and the screenshots show.
import { b64, put, url, v3 } from './page.mjs'

const field = (number, bytes) => Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes])
const text = (number, s) => field(number, Buffer.from(s))

/** A pod as Kubernetes' API server stores it, in protobuf. */
function pod() {
  const meta = Buffer.concat([text(1, 'nginx'), text(3, 'default'), text(5, '7d1f-4c'), field(11, Buffer.concat([text(1, 'app'), text(2, 'nginx')]))])
  const spec = field(2, Buffer.concat([text(1, 'nginx'), text(2, 'nginx:1.27')]))
  const type = Buffer.concat([text(1, 'v1'), text(2, 'Pod')])
  return Buffer.concat([Buffer.from('k8s\0'), field(1, type), field(2, Buffer.concat([field(1, meta), field(2, spec)]))])
}

export const hostile = '<script>document.title = "taken"</script><img src=x onerror="alert(1)">\u202egnirts desrever\u202c \u200fmark'
export const binary = Buffer.from(Array.from({ length: 300 }, (_, i) => (i * 7) & 255))

/** A JSON document of 1 MiB. */
export function large() {
  const items = {}
  for (let i = 0; i < 11000; i++) items['item' + i] = { id: i, name: 'item number ' + i, values: [1, 2, 3, i], even: i % 2 === 0 }
  return JSON.stringify(items)
}

const v2 = (path, form) =>
  fetch(`${url}/v2/keys${path}`, { method: 'PUT', body: form, headers: { 'Content-Type': 'application/x-www-form-urlencoded' } })

export async function seed() {
  const { ID: lease } = await v3('lease/grant', { TTL: '3600', ID: '0' })
  const puts = []
  for (const place of ['production', 'staging']) {
    for (const service of ['api', 'billing', 'search', 'web']) {
      for (let i = 0; i < 4; i++) {
        const value = { host: `10.0.${i}.${service.length}`, port: 8080, weight: 100, healthy: i !== 2, tags: ['v2', place] }
        puts.push(put(`/services/${place}/${service}/node-${i}`, JSON.stringify(value), lease))
      }
    }
  }
  for (let v = 1; v < 8; v++) {
    const value = { generation: v, limits: { requests: 100 * v, burst: 20 }, features: { dark: v > 3, beta: v % 2 === 0 } }
    await put('/config/web', JSON.stringify(value, null, 2))
  }
  await Promise.all(puts)
  await put('/config/motd', 'Maintenance on Sunday, 02:00 UTC.\n')
  await put('/registry/pods/default/nginx', pod())
  await put('/hostile/script', hostile)
  await put('/hostile/binary', binary)
  await put('/hostile/large', large())
  await put('/hostile/<img src=x onerror=alert(1)>', 'name')
  await put('/hostile/a\u202eb\u200f', 'direction')
  await put(Buffer.from([0xff, 0xfe, 0x2f, 0x01]), 'no text')
  await put('/config/键/配置', '你好，世界')
  await v2('/queue/jobs', 'dir=true&ttl=3000')
  await v2('/queue/lock', 'value=me&ttl=3000')
  await v2('/queue/empty', 'dir=true')
  await v3('lock/lock', { name: b64('/locks/deploy'), lease })
  await v3('election/campaign', { name: b64('/elections/main'), value: b64('node-1'), lease })
}

// A JSON API that checks what it is sent with a package from npm.
//
//   npm install
//   nuclio run orders.mjs
//   curl -d '{"item":"tea","count":2}' http://127.0.0.1:8080/orders
//   curl http://127.0.0.1:8080/orders/1
//
// Orders live in the memory of the worker, so this serves with one worker.
import { z } from 'zod'

const Order = z.strictObject({
  item: z.string().min(1).max(100),
  count: z.int().min(1).max(1000),
})
const ORDERS_MAX = 1000

export function initContext(context) {
  context.userData.orders = new Map()
}

export async function handler(context, event) {
  const { orders } = context.userData
  const [, kind, id] = event.path.split('/')
  if (kind !== 'orders') return [404, { error: `no such path: ${event.path}` }]
  if (event.method === 'POST') return add(context, orders, event.body)
  if (event.method !== 'GET') return [405, { error: `${event.method} is not known here` }]
  if (id === undefined) return [...orders.values()]
  const order = orders.get(Number(id))
  return order ?? [404, { error: `no such order: ${id}` }]
}

function add(context, orders, body) {
  const order = checked(body)
  if (order.error) return [400, order]
  if (orders.size >= ORDERS_MAX) return [507, { error: `there are ${ORDERS_MAX} orders already` }]
  const added = { id: orders.size + 1, ...order }
  orders.set(added.id, added)
  context.logger.infoWith('order added', { id: added.id, item: added.item })
  return [201, added]
}

function checked(body) {
  let sent
  try {
    sent = JSON.parse(body)
  } catch (error) {
    return { error: `the body is not JSON: ${error.message}` }
  }
  const result = Order.safeParse(sent)
  if (result.success) return result.data
  const told = result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`)
  return { error: told.join('; ') }
}

// Asks iam-simulate, which evaluates IAM policies as AWS documents it, about a list of calls; stdin and stdout are JSON.
//
//   node iam_simulate.mjs FOLDER < calls.json       FOLDER: where node_modules is
//
// Each call: {action, resource, account, principal, context, identityPolicy, resourcePolicy}. Each answer: what was decided, or {errors}
// where the call itself cannot be (an action that AWS does not have, a resource that is not the action's, an invalid policy).
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { resolve } from 'node:path'

const place = resolve(process.argv[2], 'node_modules/@cloud-copilot/iam-simulate/dist/esm/index.js')
const { runSimulation } = await import(pathToFileURL(place).href)
const answers = []
for (const call of JSON.parse(readFileSync(0, 'utf8'))) {
  const answer = await runSimulation(
    {
      request: {
        principal: call.principal,
        action: call.action,
        resource: { resource: call.resource, accountId: call.account },
        contextVariables: call.context
      },
      identityPolicies: [{ name: 'role', policy: call.identityPolicy }],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      resourcePolicy: call.resourcePolicy ?? undefined
    },
    {}
  )
  // A key of the context that the simulator does not know is left out of the evaluation: no answer may rest on that.
  const ignored = (answer.result ?? answer).ignoredContextKeys ?? []
  const errors = answer.errors ?? (ignored.length ? { ignored } : undefined)
  answers.push(errors ? { errors } : { result: answer.overallResult })
}
console.log(JSON.stringify(answers))

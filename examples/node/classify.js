// Classifies picture files: node classify.js HOST:PORT classifier.proto [--model NAME] FILE...
//
// Prints a JSON object for each file, first from one call, then from a stream. Exits with 2 if the server refuses.
"use strict";

const fs = require("node:fs");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const DEADLINE_MS = 30_000;
const RETRIES = {
  methodConfig: [{
    name: [{ service: "cifar10net.v1.Classifier", method: "Classify" }],
    retryPolicy: {
      maxAttempts: 4,
      initialBackoff: "0.2s",
      maxBackoff: "2s",
      backoffMultiplier: 2,
      retryableStatusCodes: ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    },
  }],
};

function connect(server, proto) {
  const definition = protoLoader.loadSync(proto, { enums: String, oneofs: true, defaults: true });
  const { Classifier } = grpc.loadPackageDefinition(definition).cifar10net.v1;
  return new Classifier(server, grpc.credentials.createInsecure(), {
    "grpc.service_config": JSON.stringify(RETRIES),
    "grpc.max_receive_message_length": 32 * 1024 * 1024,
  });
}

function metadata() {
  const sent = new grpc.Metadata();
  if (process.env.CIFAR10NET_API_KEY) sent.set("authorization", `Bearer ${process.env.CIFAR10NET_API_KEY}`);
  return sent;
}

function outcome(result) {
  return result.outcome === "error"
    ? { error: result.error.code, message: result.error.message }
    : { classes: result.prediction.classes };
}

function classify(client, request) {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + DEADLINE_MS };
    client.Classify(request, metadata(), options, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

// One image per request; answers come in the order of the requests. A deadline would cover the whole stream.
function classifyStream(client, requests) {
  return new Promise((resolve, reject) => {
    const answers = [];
    const stream = client.ClassifyStream(metadata());
    stream.on("data", (answer) => answers.push(answer));
    stream.on("error", reject);
    stream.on("end", () => resolve(answers));
    for (const [index, request] of requests.entries()) stream.write({ id: String(index), request });
    stream.end();
  });
}

async function main([server, proto, ...rest]) {
  const model = rest[0] === "--model" ? rest.splice(0, 2)[1] : "";
  const images = rest.map((path) => ({ encoded: fs.readFileSync(path) }));
  const client = connect(server, proto);
  try {
    const response = await classify(client, { model, topK: 3, images });
    response.results.forEach((result, index) =>
      console.log(JSON.stringify({ file: rest[index], model: response.model, ...outcome(result) })));

    const answers = await classifyStream(client, images.map((image) => ({ model, topK: 3, images: [image] })));
    for (const { id, response: one, error } of answers) {
      if (error) throw Object.assign(new Error(error.message), { code: error.code, details: error.message });
      console.log(JSON.stringify({ file: rest[Number(id)], model: one.model, ...outcome(one.results[0]) }));
    }
  } catch (error) {
    console.error(`error: ${server} answered ${grpc.status[error.code]}: ${error.details}`);
    process.exitCode = 2;
  } finally {
    client.close();
  }
}

main(process.argv.slice(2));

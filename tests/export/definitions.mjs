// Checks OpenAPI definitions with swagger-parser: against the published schema and against the specification. The paths stand on
// standard input, one on each line; what is wrong stands on standard output.
import { createInterface } from "node:readline";
import SwaggerParser from "@apidevtools/swagger-parser";

for await (const path of createInterface({ input: process.stdin })) {
  try {
    await SwaggerParser.validate(path, { resolve: { external: false }, validate: { schema: true, spec: true } });
    console.log(`ok ${path}`);
  } catch (error) {
    console.log(`wrong ${path}: ${error.message.replaceAll("\n", " ")}`);
  }
}

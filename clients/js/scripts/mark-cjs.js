// Marks the files that tsc wrote for `require` as CommonJS; the rest of the package consists of ES modules.

import { writeFileSync } from 'node:fs';

writeFileSync(new URL('../dist/cjs/package.json', import.meta.url), '{ "type": "commonjs" }\n');

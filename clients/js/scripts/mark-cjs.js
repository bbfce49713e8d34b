// Says that what tsc wrote for `require` is CommonJS, in a package that is otherwise made of ES modules.

import { writeFileSync } from 'node:fs';

writeFileSync(new URL('../dist/cjs/package.json', import.meta.url), '{ "type": "commonjs" }\n');

// Loads the modules of a provider package when they are first asked for. The package's index requires all 1,470 of
// them: four seconds of compiling for the sixty that are used. Preloaded into jsii's Node (see __init__.py).
'use strict';
const fs = require('node:fs');
const Module = require('node:module');

const INDEX = /[\\/]@cdktf[\\/]provider-[a-z]+[\\/]lib[\\/]index\.js$/;
const EAGER = /^exports\.(\w+) = require\((".+?")\);$/gm;
const LAZY = 'Object.defineProperty(exports, "$1", { enumerable: true, get: () => require($2) });';

const load = Module._extensions['.js'];
Module._extensions['.js'] = (module, file) => {
  if (!INDEX.test(file)) return load(module, file);
  const source = fs.readFileSync(file, 'utf8').replace(/^(exports\.\w+ = )+void 0;$/gm, '');
  return module._compile(source.replace(EAGER, LAZY), file);
};

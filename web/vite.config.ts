import { createHash } from 'node:crypto'
import { readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { defineConfig, type Plugin } from 'vite'

const dist = '../internal/console/dist'

/** Replaces each asset by its compressed forms, which are what the server embeds and sends. */
function compressed(): Plugin {
  return {
    name: 'compressed',
    apply: 'build',
    closeBundle() {
      let total = 0
      for (const name of readdirSync(join(dist, 'assets'))) {
        const path = join(dist, 'assets', name)
        const raw = readFileSync(path)
        const zipped = gzipSync(raw, { level: 9 })
        zipped[9] = 255 // the operating system in the header: unknown, so that all builds are equal
        writeFileSync(path + '.gz', zipped)
        writeFileSync(path + '.br', brotliCompressSync(raw, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: raw.length } }))
        rmSync(path)
        total += zipped.length
      }
      console.log(`${total} bytes gzipped`)
      if (total > 300 * 1024) throw new Error('the console is larger than 300 KiB gzipped')
    },
  }
}

const notBuilt = ['node_modules', 'test'] // directories of web/ that are not part of the console

function sources(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => dir !== '.' || !notBuilt.includes(name))
    .flatMap((name) => (statSync(join(dir, name)).isDirectory() ? sources(join(dir, name)) : [join(dir, name)]))
}

/** Writes the hash of all sources beside what was built from them. A test of internal/console
 * computes it again (TestBuiltFromSources): it fails when the sources were changed since. */
function stamped(): Plugin {
  return {
    name: 'stamped',
    apply: 'build',
    closeBundle() {
      const hash = createHash('sha256')
      for (const path of sources('.').sort()) {
        const content = readFileSync(path)
        hash.update(`${path} ${content.length}\n`).update(content)
      }
      writeFileSync(join(dist, 'sources.sha256'), hash.digest('hex') + '\n')
    },
  }
}

export default defineConfig({
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  plugins: [compressed(), stamped()],
  build: {
    outDir: dist,
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
    cssCodeSplit: false,
    reportCompressedSize: false,
  },
  server: {
    proxy: {
      '/console/api': 'http://127.0.0.1:2379',
      '/v3': { target: 'http://127.0.0.1:2379', ws: true },
    },
  },
})

// SPDX-License-Identifier: GPL-3.0-or-later
// The one list of what a box holds: mmdebstrap and docker/box.Dockerfile both install it.

/**
 * @typedef {{ name: string, why: string, onlyIn?: import('./suites.mjs').BoxName, builds?: true }} BoxPackage
 *   builds: what the plugin cannot be compiled without; docker/Dockerfile installs these as well
 */

/**
 * Debian's and Ubuntu's names agree for all of these.
 * @type {readonly BoxPackage[]}
 */
export const boxPackages = [
  { name: 'ca-certificates', why: 'TLS to real providers; the bundle itself comes from the host' },
  { name: 'orthanc', why: 'the host of the plugin' },
  { name: 'orthanc-dev', why: 'the header of the plugin SDK, OrthancCPlugin.h', builds: true },
  {
    name: 'libnode-dev',
    why: "the embedded Node, whose headers bring OpenSSL's along",
    builds: true,
  },
  { name: 'libuv1-dev', why: "uv.h, which libnode's node.h includes", builds: true },
  {
    name: 'libdeflate-dev',
    why: "CRC32 at the processor's speed; Orthanc's libtiff brings the library",
    builds: true,
  },
  { name: 'nodejs', why: 'runs cmake-js; the same version as libnode' },
  {
    name: 'g++',
    why: 'compiles the shim; its ASan, UBSan and TSan run the native tests',
    builds: true,
  },
  { name: 'cmake', why: 'the build, driven by cmake-js', builds: true },
  { name: 'ninja-build', why: 'the fast generator of cmake-js', builds: true },
  { name: 'make', why: 'the other generator, where a user prefers it' },
  { name: 'ccache', why: 'a fresh clone need not compile what another one has' },
  { name: 'clang', why: 'a second compiler and its warnings' },
  { name: 'clang-tidy', why: 'static analysis in npm test' },
  { name: 'clang-format', why: 'format check in npm test' },
  { name: 'libgtest-dev', why: 'the framework of the native tests' },
  { name: 'dcmtk', why: 'storescu: C-STORE in the end-to-end tests' },
  { name: 'python3-pydicom', why: '70 real DICOM files for the tests' },
  {
    name: 'python3-cryptography',
    why: 'an independent implementation to check encryption against',
  },
  { name: 'jq', why: "takes Orthanc's answers apart in commands of the docs" },
  { name: 'openssl', why: 'keys and certificates in tests' },
  { name: 'curl', why: "asks Orthanc's REST API from inside" },
  { name: 'orthanc-postgresql', why: 'an index that two Orthancs share' },
  { name: 'postgresql', why: 'the server of that index' },
  { name: 'haproxy', why: 'in front of two Orthancs, as docker/compose.two-orthancs.yaml has it' },
  // Debian testing has no rclone (November 2026).
  { name: 'rclone', why: 'what test/bench/migrate.mjs compares with', onlyIn: 'trixie' },
  { name: 'orthanc-dicomweb', why: 'DICOMweb, which npm run bench measures as well' },
  { name: 'gdb', why: 'back traces of a crash in the native half' },
];

/**
 * Of another root file system, which only `npm run package` makes: Debian's tools for packages, and the libraries that the plugin is
 * linked with, since dpkg-shlibdeps asks whose they are.
 * @type {readonly string[]}
 */
export const packagerPackages = [
  'debhelper',
  'lintian',
  ...boxPackages.flatMap(({ name, builds }) => (builds && /^lib/.test(name) ? [name] : [])),
];

/**
 * @param {import('./suites.mjs').BoxName} box
 * @returns {string[]} the names alone, in the order of the list
 */
export const listPackageNames = (box) =>
  boxPackages
    .filter(({ onlyIn }) => onlyIn === undefined || onlyIn === box)
    .map(({ name }) => name);

// SPDX-License-Identifier: GPL-3.0-or-later
// compose.yaml and docker/compose.two-orthancs.yaml, read by Docker's own loader, and deploy/kubernetes, checked by Kubernetes' schemas: that they are valid, and
// that the plugin takes the settings in them. test/e2e/two-orthancs.test.ts starts what one of them says.

import { access, readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';

import { boxPackages } from '../../scripts/lib/packages.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';
import { loadCompose, loadManifests } from '../../scripts/lib/servers.mjs';
import { readConfiguration } from '../../src/config/load.ts';
import { PROVIDERS } from '../../src/providers/index.ts';
import { configurationOf } from '../support/image-variables.ts';

type Variables = Readonly<Record<string, string>>;

interface Project {
  readonly services: Readonly<Record<string, Service>>;
  readonly secrets: Readonly<Record<string, { readonly file: string }>>;
}

interface Service {
  readonly image: string;
  readonly profiles?: readonly string[];
  readonly environment?: Variables;
  readonly secrets?: readonly { readonly source: string; readonly target?: string }[];
  readonly volumes?: readonly { readonly type: string; readonly source: string }[];
}

/** What the plugin has to say to the settings of the image's variables. */
function problemsOf(variables: Variables): readonly string[] {
  const environment = { orthancVersion: '1.13.0', environmentVariables: {} };
  const json = JSON.stringify(configurationOf(variables));
  const { problems, settings } = readConfiguration(json, environment, PROVIDERS);
  // The stores to try it with have no certificate.
  const warnings = settings?.warnings.filter((line) => !line.includes(': without TLS')) ?? [];
  return [...problems, ...warnings, ...(settings?.provider ? [] : ['no store'])];
}

const COMPOSE_FILES = ['compose.yaml', 'docker/compose.two-orthancs.yaml'];
/** What docker/make-secrets.sh writes has these forms. */
const SECRETS: Variables = {
  'registered-users': '{"orthanc": "k1", "prometheus": "k2"}',
  'azure-connection-string':
    'DefaultEndpointsProtocol=http;AccountName=orthanc;AccountKey=a2V5;BlobEndpoint=http://azurite:10000/orthanc;',
};

test('docker/Dockerfile installs what the plugin is compiled with', async () => {
  const words = (await readFile(inProject('docker', 'Dockerfile'), 'utf8')).split(/[\s;]+/);
  const needed = boxPackages.filter(({ builds }) => builds).map(({ name }) => name);
  expect(needed).toContain('libnode-dev');
  for (const name of needed) expect(words).toContain(name);
});

describe.each(COMPOSE_FILES)('%s', (file) => {
  let project: Project;
  beforeAll(async () => {
    project = (await loadCompose(inProject(file))) as Project;
  });

  test('each Orthanc has settings that the plugin takes, and passwords from secrets alone', () => {
    const orthancs = Object.entries(project.services).filter(([name]) =>
      name.startsWith('orthanc-'),
    );
    expect(orthancs.length).toBeGreaterThanOrEqual(2);
    for (const [name, { environment = {}, secrets = [] }] of orthancs) {
      expect(
        Object.keys(environment).filter((key) => /PASSWORD|SECRET|KEY_FILE/.test(key)),
      ).toEqual([]);
      const fromFiles = secrets.map(({ source, target = source }) => [
        target,
        SECRETS[source] ?? 'k3',
      ]);
      const variables = { ...environment, ...(Object.fromEntries(fromFiles) as Variables) };
      expect(problemsOf(variables), name).toEqual([]);
    }
  });

  test('each image but our own has a version', () => {
    const images = Object.values(project.services).map(({ image }) => image);
    for (const image of new Set(images)) {
      if (image !== 'orthanc-object-storage') expect(image).toMatch(/:v?\d+\.\d+/);
    }
  });

  test('files that are mounted are there, and docker/make-secrets.sh makes the secrets', async () => {
    const script = await readFile(inProject('docker', 'make-secrets.sh'), 'utf8');
    for (const { volumes = [] } of Object.values(project.services)) {
      for (const { type, source } of volumes) if (type === 'bind') await access(source);
    }
    for (const { file: path } of Object.values(project.secrets)) {
      expect(path.startsWith(inProject('docker', 'secrets'))).toBe(true);
      const name = path.slice(inProject('docker', 'secrets').length + 1);
      expect(script).toContain(
        name.replace(/^(orthanc|prometheus|grafana|postgres|s3)-password$/, '$$name-password'),
      );
    }
  });
});

interface Resource {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly annotations?: Variables };
  readonly data?: Variables;
  readonly stringData?: Variables;
  // biome-ignore lint/suspicious/noExplicitAny: checked by the schema of its kind
  readonly spec?: any;
}

describe('deploy/kubernetes', () => {
  const CLOUDS = ['aws', 'google', 'azure'];
  const names = ['orthanc', 'secret', ...CLOUDS];
  const files = names.map((name) => inProject('deploy', 'kubernetes', `${name}.yaml`));
  let resources: readonly Resource[];

  // The oldest that is supported now, and the newest that the schemas know.
  test.each(['1.34', '1.37'])('is valid in Kubernetes %s', async (version) => {
    const { checked, resources: all } = await loadManifests(version, files);
    resources = all as Resource[];
    expect(checked).toHaveLength(resources.length);
    expect(new Set(checked)).toEqual(
      new Set([
        'service/orthanc',
        'persistentvolumeclaim/orthanc-cache',
        'deployment/orthanc',
        'secret/orthanc',
        'serviceaccount/orthanc',
        'configmap/orthanc',
      ]),
    );
  });

  test('each cloud has settings that the plugin takes, and an identity', () => {
    const secret = resources.find(({ kind }) => kind === 'Secret');
    const maps = resources.filter(({ kind }) => kind === 'ConfigMap');
    expect(maps).toHaveLength(CLOUDS.length);
    for (const { data } of maps) {
      expect(problemsOf({ ...data, ...secret?.stringData })).toEqual([]);
    }
    const accounts = resources.filter(({ kind }) => kind === 'ServiceAccount');
    expect(accounts.flatMap(({ metadata }) => Object.keys(metadata.annotations ?? {}))).toEqual([
      'eks.amazonaws.com/role-arn',
      'iam.gke.io/gcp-service-account',
      'azure.workload.identity/client-id',
    ]);
  });

  test('what Deployment and Service name is there, and a stop has the time that Orthanc takes', () => {
    const of = (kind: string) => resources.find((resource) => resource.kind === kind);
    const { template, selector } = of('Deployment')?.spec ?? {};
    const [container] = template.spec.containers;
    expect(template.metadata.labels).toMatchObject({
      ...selector.matchLabels,
      ...of('Service')?.spec.selector,
      'azure.workload.identity/use': 'true',
    });
    expect(template.spec.serviceAccountName).toBe(of('ServiceAccount')?.metadata.name);
    expect(container.envFrom).toEqual([
      { configMapRef: { name: of('ConfigMap')?.metadata.name } },
      { secretRef: { name: of('Secret')?.metadata.name } },
    ]);
    expect(template.spec.volumes[0].persistentVolumeClaim.claimName).toBe(
      of('PersistentVolumeClaim')?.metadata.name,
    );
    // native/plugin.cpp: 8 s for requests, 2 s for what is left; StopTimeout is 2 s.
    expect(template.spec.terminationGracePeriodSeconds).toBeGreaterThan(8 + 2 + 2);
  });

  test("IRSA's trust policy names the service account and the role's cluster alone", async () => {
    const text = await readFile(inProject('deploy', 'kubernetes', 'aws-trust-policy.json'), 'utf8');
    const [statement] = (JSON.parse(text) as { Statement: Statement[] }).Statement;
    const provider = statement?.Principal.Federated.split(':oidc-provider/')[1] ?? '';
    expect(statement?.Action).toBe('sts:AssumeRoleWithWebIdentity');
    expect(statement?.Condition.StringEquals).toEqual({
      [`${provider}:aud`]: 'sts.amazonaws.com',
      [`${provider}:sub`]: 'system:serviceaccount:orthanc:orthanc',
    });
  });
});

interface Statement {
  readonly Action: string;
  readonly Principal: { readonly Federated: string };
  readonly Condition: { readonly StringEquals: Variables };
}

// SPDX-License-Identifier: GPL-3.0-or-later
// What the user is told of a chain that gives no credentials. It is set up by environment variables and AWS's files, so these are
// what the words are about: the bucket has not been asked.

import type { Variables } from '../../config/environment.ts';
import type { Silent } from '../../store/check-timeout.ts';
import { type Explanation, explainTransport } from '../network-errors.ts';
import { TransportError } from '../transport.ts';
import { asRecord, text } from '../words.ts';

const SERVICE = 'the service that gives out temporary credentials (STS)';
const ADDRESS = 'the environment variable AWS_ENDPOINT_URL_STS';

/** What credentials that do not come wait for. */
export const CREDENTIALS_WAIT: Silent = { name: SERVICE, settings: ADDRESS };

/** @param cause of a CredentialsError
 *  @param facts its name and words */
export function explainCredentials(
  cause: unknown,
  facts: { readonly name: string; readonly words: string },
  variables: Variables,
): Explanation {
  if (cause instanceof TransportError) {
    return explainTransport(cause, {
      section: 'AwsS3Storage',
      target: SERVICE,
      addressSetting: ADDRESS,
      endpoint: undefined,
      hostSettings: `AwsS3Storage.Region, ${ADDRESS}, or this machine's name server`,
      isCheck: false,
    });
  }
  const answer = `${facts.name}: ${facts.words}`;
  const role = variables['AWS_ROLE_ARN'];
  const whose = role === undefined ? '' : ` for the role ${role}`;
  switch (facts.name) {
    case 'CredentialsProviderError':
    case 'TokenProviderError':
      return {
        code: 'ACCESS_DENIED',
        text: `no credentials were found${describeProfile(variables)}; set AwsS3Storage.AccessKey and .SecretKey, or provide environment variables, a profile, or a role (${facts.words})`,
      };
    case 'ExpiredToken':
    case 'ExpiredTokenException':
      return {
        code: 'ACCESS_DENIED',
        text: `the identity's token has expired; see to what renews ${describeToken(variables)} (${answer})`,
      };
    case 'AccessDenied':
    case 'AccessDeniedException':
    case 'InvalidIdentityToken':
    case 'InvalidIdentityTokenException':
      return {
        code: 'ACCESS_DENIED',
        text: `AWS gives out no credentials${whose}; correct the role's trust policy, its identity provider, or what writes ${describeToken(variables)} (${answer})`,
      };
    default:
      break;
  }
  const path = text(asRecord(cause)['path']);
  return {
    code: 'ACCESS_DENIED',
    text:
      path === undefined
        ? `AWS gives out no credentials${whose} (${answer})`
        : `the file "${path}", which credentials are to come from, cannot be read; correct ${namesOf(path, variables)} (${facts.words})`,
  };
}

function describeProfile({ AWS_PROFILE: profile }: Variables): string {
  return profile === undefined ? '' : ` in the profile "${profile}" that AWS_PROFILE names`;
}

function describeToken({ AWS_WEB_IDENTITY_TOKEN_FILE: file }: Variables): string {
  return file === undefined
    ? "the profile's token file"
    : `the file "${file}", which AWS_WEB_IDENTITY_TOKEN_FILE names`;
}

function namesOf(value: string, variables: Variables): string {
  const names = Object.keys(variables).filter(
    (name) => name.startsWith('AWS_') && variables[name] === value,
  );
  return names.length === 0 ? 'the profile that names it' : names.join(', ');
}

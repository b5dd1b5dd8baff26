// SPDX-License-Identifier: GPL-3.0-or-later
// What the user is told of a chain that gives no credentials. It is set up by environment variables and AWS's files, so these are
// what the words are about: the bucket has not been asked.

import type { Variables } from '../../config/environment.ts';
import { type Explanation, explainTransport } from '../../http/network-errors.ts';
import { TransportError } from '../../http/transport.ts';
import { asRecord, text } from '../../http/words.ts';
import { SilenceError, STS, STS_ADDRESS } from './credential-places.ts';
import type { CredentialsError } from './credentials.ts';

/** @param facts the name and words of the error's cause */
export function explainCredentials(
  { cause, place, searched }: CredentialsError,
  facts: { readonly name: string; readonly words: string },
  variables: Variables,
): Explanation {
  const { name: target = STS, settings: addressSetting = STS_ADDRESS } = place?.silent ?? {};
  if (cause instanceof TransportError) {
    return explainTransport(cause, {
      section: 'AwsS3Storage',
      target,
      addressSetting,
      endpoint: undefined,
      hostSettings: `AwsS3Storage.Region, ${addressSetting}, or this machine's name server`,
      isCheck: false,
    });
  }
  if (cause instanceof SilenceError) {
    return {
      code: 'TIMEOUT',
      text: `no answer from ${target}; correct ${addressSetting}, or look for a firewall or proxy between`,
    };
  }
  if (place === undefined) {
    return {
      code: 'ACCESS_DENIED',
      text: `no credentials were found; looked at ${searched.join('; ')}. Set AwsS3Storage.AccessKey and .SecretKey, or correct one of these`,
    };
  }
  const answer = `${facts.name}: ${facts.words}`;
  const role = variables['AWS_ROLE_ARN'];
  const whose = role === undefined ? '' : ` for the role ${role}`;
  switch (facts.name) {
    case 'CredentialsProviderError':
    case 'TokenProviderError':
    case 'SyntaxError':
      return {
        code: 'ACCESS_DENIED',
        text: `no credentials from ${searched.at(-1) ?? place.name}`,
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

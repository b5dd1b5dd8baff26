// SPDX-License-Identifier: GPL-3.0-or-later
// What the user reads when the chain gives no credentials. Environment variables and AWS's files set it up, so the messages are about these.

import type { Variables } from '../../config/environment.ts';
import { denied, type Explanation, explainTransport } from '../../http/network-errors.ts';
import { type Answer, TransportError } from '../../http/transport.ts';
import { asRecord, oneLine, text } from '../../http/words.ts';
import { readError, wordsOf } from './answers.ts';
import { NoAnswerError, STS, STS_ADDRESS } from './credential-places.ts';
import type { CredentialsError } from './credentials.ts';

export function explainCredentials(
  { cause, place, searched }: CredentialsError,
  variables: Variables,
): Explanation {
  const { name: target = STS, settings: addressSetting = STS_ADDRESS } = place?.server ?? {};
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
  if (cause instanceof NoAnswerError) {
    return {
      code: 'TIMEOUT',
      text: `no answer from ${target}; correct ${addressSetting}, or look for a firewall or proxy between`,
    };
  }
  if (place === undefined) {
    return denied(
      `no credentials were found; looked at ${searched.join('; ')}. Set AwsS3Storage.AccessKey and .SecretKey, or correct one of these`,
    );
  }
  const { name, words } = readCause(cause);
  const answer = `${name}: ${words}`;
  const role = variables['AWS_ROLE_ARN'];
  const whose = role === undefined ? '' : ` for the role ${role}`;
  switch (name) {
    case 'CredentialsProviderError':
    case 'TokenProviderError':
    case 'SyntaxError':
      return denied(`no credentials from ${searched.at(-1) ?? place.name}`);
    case 'ExpiredToken':
    case 'ExpiredTokenException':
      return denied(
        `the identity's token has expired; see to what renews ${describeToken(variables)} (${answer})`,
      );
    case 'AccessDenied':
    case 'AccessDeniedException':
    case 'InvalidIdentityToken':
    case 'InvalidIdentityTokenException':
      return denied(
        `AWS gives out no credentials${whose}; correct the role's trust policy, its identity provider, or what writes ${describeToken(variables)} (${answer})`,
      );
    default:
      break;
  }
  const path = text(asRecord(cause)['path']);
  return denied(
    path === undefined
      ? `AWS gives out no credentials${whose} (${answer})`
      : `the file "${path}", which credentials are to come from, cannot be read; correct ${namesOf(path, variables)} (${words})`,
  );
}

/** From the answer where there is one. Of an answer that is not in its protocol, the SDK only reports words of its parser. */
function readCause(cause: unknown): { readonly name: string; readonly words: string } {
  const { answer } = asRecord(asRecord(cause)['$response']) as { readonly answer?: Answer };
  if (answer !== undefined && answer.status >= 300) {
    const error = readError(answer);
    return { name: error.code ?? 'UnknownError', words: wordsOf(error) };
  }
  return cause instanceof Error
    ? { name: cause.name, words: oneLine(cause.message) }
    : { name: 'UnknownError', words: 'no error object' };
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

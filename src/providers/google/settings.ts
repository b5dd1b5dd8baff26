// SPDX-License-Identifier: GPL-3.0-or-later
// The section GoogleCloudStorage.

import { checkEndpoint } from '../../config/endpoints.ts';
import {
  bucketRule,
  optionalAnyText,
  optionalChoice,
  optionalUrl,
  requiredText,
} from '../../config/fields.ts';
import type { ProviderSection, SectionContext, ValuesOf } from '../../config/sections.ts';
import type { NetworkSettings } from '../../config/settings.ts';
import { parseEndpoint } from '../../config/urls.ts';

export interface GoogleSettings extends NetworkSettings {
  readonly bucketName: string;
  /** undefined: application default credentials. */
  readonly serviceAccountFile: string | undefined;
  /** A URL with its scheme, without a path; undefined is Google. */
  readonly endpoint: string | undefined;
  readonly storageClass: string | undefined;
}

export const googleSection: ProviderSection<GoogleSettings, typeof fields> = {
  kind: 'google',
  section: 'GoogleCloudStorage',
  fields,
  read,
  obeyed: {
    always: /^GOOGLE_CLOUD_QUOTA_PROJECT$/,
    credentials:
      /^(GOOGLE_APPLICATION_CREDENTIALS|GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES|GCE_METADATA_(HOST|IP)|METADATA_SERVER_DETECTION|CLOUDSDK_CONFIG)$/i,
    literal: /^GOOGLE_APPLICATION_CREDENTIALS$/i,
    repeated: /^GOOGLE_APPLICATION_CREDENTIALS$/i,
  },
  elsewhere: {
    ServiceAccountFile:
      'credentialsfile credentials credentialfile keyfile keyfilename keyfilepath applicationcredentials serviceaccountkey serviceaccount serviceaccountkeyfile jsonkeyfile serviceaccountpath serviceaccountcredentials',
  },
};

function fields() {
  return {
    BucketName: requiredText('The bucket, which must exist.', "the bucket's name", bucketRule),
    ServiceAccountFile: optionalAnyText(
      "Path of a service account's JSON key. If it is absent, application default credentials are used, workload identity included.",
    ),
    Endpoint: optionalUrl(
      'The address of an emulator or a private endpoint: a host, host:port or URL. A bare host means https. If it is absent or "", requests go to Google.',
      parseEndpoint,
    ),
    StorageClass: optionalChoice(
      "Storage class of new objects. If it is absent, the bucket's default applies.",
      ['STANDARD', 'NEARLINE', 'COLDLINE', 'ARCHIVE'],
    ),
  };
}

function read(value: ValuesOf<typeof fields>, { section, report }: SectionContext) {
  const { BucketName: bucketName, Endpoint: endpoint, ServiceAccountFile: file } = value;
  checkEndpoint(`${section}.Endpoint`, endpoint, bucketName, report);
  return {
    settings: {
      bucketName,
      serviceAccountFile: file,
      endpoint,
      storageClass: value.StorageClass,
    },
    bucket: bucketName,
    place: endpoint ?? '',
    findsCredentials: file === undefined,
  };
}

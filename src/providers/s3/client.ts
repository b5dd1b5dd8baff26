// SPDX-License-Identifier: GPL-3.0-or-later
// The way to the bucket. Requests about one object are signed here and carried by our transport, at a tenth of the CPU that the SDK's client
// takes (docs/decisions.md). What is rare goes through that client, over the same transport. One retry repeats both.

import {
  S3Client as SdkClient,
  type ServiceInputTypes,
  type ServiceOutputTypes,
} from '@aws-sdk/client-s3';
import { StorageError } from '../../errors.ts';
import { AnswerError } from '../../http/answer-error.ts';
import { createRetry, type RetryReason } from '../../http/retry.ts';
import type { Answer, Headers, Transport } from '../../http/transport.ts';
import type { Signal } from '../../store/abort.ts';
import { once } from '../../store/once.ts';
import { exchange, isMismatch, readError, THROTTLING } from './answers.ts';
import type { Credentials } from './credentials.ts';
import { buildQuery, encode, type ObjectRequest } from './requests.ts';
import {
  type CallOptions,
  changeHeaders,
  createHandler,
  resolveTarget,
  type Target,
} from './sdk.ts';
import type { SdkLogger } from './sdk-log.ts';
import type { S3Settings } from './settings.ts';

export interface ClientOptions {
  readonly settings: S3Settings;
  readonly transport: Transport;
  readonly credentials: Credentials;
  readonly logger: SdkLogger;
  readonly maxRetries: number;
  /** True for the check at start. It does not repeat connections that fail, and reports a bucket in another region instead of following
   *  it there. */
  readonly isCheck: boolean;
}

/** What the SDK's client sends. */
type SdkCommand<Input extends ServiceInputTypes, Output extends ServiceOutputTypes> = Parameters<
  typeof SdkClient.prototype.send<Input, Output>
>[0];

export class S3Client {
  readonly #options: ClientOptions;
  readonly #sdk: SdkClient;
  #region: string;
  /** How often other credentials took the place of those that the store refused. */
  #renewals = 0;
  #resolve: () => Promise<Target>;

  constructor(options: ClientOptions) {
    const { settings } = options;
    this.#options = options;
    this.#region = settings.region;
    this.#sdk = new SdkClient({
      region: () => Promise.resolve(this.#region),
      credentials: options.credentials.provider,
      ...(settings.endpoint === undefined ? {} : { endpoint: settings.endpoint }),
      forcePathStyle: !settings.virtualAddressing,
      // A header of ours carries the checksum (requests.ts), so the SDK must neither compute nor verify another one.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      // It would cost a round trip, on a new connection each time.
      expectContinueHeader: false,
      maxAttempts: 1,
      requestHandler: createHandler(options.transport),
    });
    this.#resolve = this.#resolveOnce();
  }

  /** Where requests go. A profile of the SDK's may say so, too. */
  async origin(): Promise<string> {
    const { origin } = await this.#resolve();
    return origin;
  }

  /** Put, get, head or delete of one object, or a part of an upload.
   *  @throws AnswerError for an answer that is no success */
  send(request: ObjectRequest, signal: Signal): Promise<Answer> {
    const { method, key, query = {}, headers = {}, content, receive, isWaitedFor } = request;
    const { maxRetries = this.#options.maxRetries } = request;
    const input = {
      Bucket: this.#options.settings.bucketName,
      Key: key,
      ContentLength: content?.sizeBytes,
      PartNumber: query['partNumber'],
    };
    return this.#repeat(nameCommand(method, query), input, maxRetries, signal, async () => {
      const { origin, host, basePath, sign } = await this.#resolve();
      const path = `${basePath}/${key.split('/').map(encode).join('/')}`;
      const answer = await exchange(this.#options.transport, {
        origin,
        method,
        key,
        path: path + buildQuery(query),
        headers: await sign({ host, method, path, query, headers }),
        content,
        receive,
        isWaitedFor,
        signal,
      });
      return { answer, result: answer };
    });
  }

  /** A command of the SDK's client.
   *  @param create makes it anew for each attempt
   *  @param headers beside those that the SDK makes of the command
   *  @throws AnswerError likewise */
  call<Input extends ServiceInputTypes, Output extends ServiceOutputTypes>(
    create: () => SdkCommand<Input, Output>,
    signal: Signal,
    headers: Headers = {},
  ): Promise<Output> {
    const {
      input,
      constructor: { name },
    } = create();
    return this.#repeat(name, input, this.#options.maxRetries, signal, async () => {
      const command = create();
      changeHeaders(command.middlewareStack, function addHeaders(all) {
        Object.assign(all, headers);
      });
      let answer: Answer | undefined;
      const onAnswer = (given: Answer) => {
        answer = given;
      };
      // The SDK hands all options on to the handler, but knows none of ours.
      const options: CallOptions = { signal, onAnswer };
      try {
        return { result: await this.#sdk.send(command, options as object), answer };
      } catch (thrown) {
        // It was a success that the SDK cannot read: its parser's words would say nothing of the server.
        throw answer === undefined ? thrown : readError(answer);
      }
    });
  }

  close(): void {
    this.#sdk.destroy();
  }

  #resolveOnce(): () => Promise<Target> {
    return once(() => resolveTarget(this.#sdk, this.#options.settings.bucketName));
  }

  /** @param commandName with `input` for the log, as the SDK names and describes it */
  async #repeat<T>(
    commandName: string,
    input: object,
    maxRetries: number,
    signal: Signal,
    attempt: () => Promise<{ readonly result: T; readonly answer: Answer | undefined }>,
  ): Promise<T> {
    const { isCheck, logger } = this.#options;
    let attempts = 0;
    let signed = { region: this.#region, clockOffsetMs: 0, renewals: 0 };
    const retry = createRetry({
      maxRetries,
      retryConnecting: !isCheck,
      classify,
      recover: async (error) =>
        (await this.#adoptTime(error, signed.clockOffsetMs)) ||
        (await this.#renewCredentials(error, signed.renewals)) ||
        (!isCheck && this.#adoptRegion(error, signed.region)),
    });
    const describe = ({ status, headers }: Partial<Answer> = {}) => {
      const requestId = headers?.['x-amz-request-id'];
      return { commandName, input, metadata: { httpStatusCode: status, attempts, requestId } };
    };
    try {
      const { result, answer } = await retry(signal, () => {
        attempts += 1;
        signed = {
          region: this.#region,
          clockOffsetMs: this.#sdk.config.systemClockOffset,
          renewals: this.#renewals,
        };
        return attempt();
      });
      logger.info(describe(answer));
      return result;
    } catch (thrown) {
      // It was given up: the rest came over other connections, or nobody waits for it.
      if (thrown instanceof StorageError && thrown.code === 'ABORTED') throw thrown;
      const { code, answer } = thrown instanceof AnswerError ? thrown : {};
      const error = code === undefined ? thrown : { name: code };
      logger.error({ ...describe(answer), error });
      throw thrown;
    }
  }

  /** From now on, requests are signed with the server's time, as the SDK's client does it.
   *  @param usedOffsetMs that the refused request was signed with */
  async #adoptTime(
    { status, serverTime, headers }: AnswerError,
    usedOffsetMs: number,
  ): Promise<boolean> {
    const isRefusal = status === 400 || status === 401 || status === 403;
    // A cache repeats an older time.
    if (!isRefusal || serverTime === undefined || headers['age'] !== undefined) return false;
    const { config } = this.#sdk;
    const offsetMs = serverTime.getTime() - Date.now();
    const isOff = Math.abs(offsetMs - usedOffsetMs) >= MAX_CLOCK_SKEW_MS;
    if (!isOff || (await config.disableClockSkewCorrection())) return false;
    config.systemClockOffset = offsetMs;
    return true;
  }

  /** Somebody may have replaced the keys in a file that says nothing of their expiry. */
  async #renewCredentials({ code }: AnswerError, usedRenewals: number): Promise<boolean> {
    if (code === undefined || !OUTDATED.test(code)) return false;
    // Another request has found others meanwhile.
    if (usedRenewals !== this.#renewals) return true;
    const { credentials } = this.#sdk.config;
    const before = await credentials();
    if (!this.#options.credentials.forget()) return false;
    // Else the SDK keeps for ever what has no expiry.
    const { accessKeyId, sessionToken } = await credentials({ forceRefresh: true });
    const areOthers = accessKeyId !== before.accessKeyId || sessionToken !== before.sessionToken;
    if (areOthers) this.#renewals += 1;
    return areOthers;
  }

  /** From now on, requests go to the region where the bucket is, by S3's own header. No other redirect is followed.
   *  @param usedRegion that the refused request was signed for */
  #adoptRegion({ status, code, headers }: AnswerError, usedRegion: string): boolean {
    const named = headers['x-amz-bucket-region'];
    const isElsewhere =
      status === 301 ||
      status === 307 ||
      // The answer to a HEAD has no code.
      (status === 400 && (code === undefined || WRONG_REGION.test(code)));
    // It becomes a part of the host's name.
    if (!isElsewhere || named === usedRegion || !REGION.test(named ?? '')) return false;
    this.#region = named ?? '';
    this.#resolve = this.#resolveOnce();
    return true;
  }
}

/** OperationAborted and ConditionalRequestConflict: another request changes the object at this moment.
 *  @see https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html */
const TRANSIENT = /^(RequestTimeout|OperationAborted|ConditionalRequestConflict)$/;

/** By S3's own codes. An error with status 200 is repeated like a 500. */
function classify(thrown: unknown): RetryReason | undefined {
  if (!(thrown instanceof AnswerError) || thrown.code === undefined) return undefined;
  if (THROTTLING.has(thrown.code)) return 'throttled';
  const mayPass = TRANSIENT.test(thrown.code) || thrown.status < 300 || isMismatch(thrown);
  return mayPass ? 'transient' : undefined;
}

/** Of keys and tokens that were replaced. */
const OUTDATED =
  /^(ExpiredToken|ExpiredTokenException|InvalidToken|TokenRefreshRequired|InvalidAccessKeyId)$/;
const WRONG_REGION = /^(AuthorizationHeaderMalformed|IllegalLocationConstraintException)$/;
const REGION = /^[a-z0-9-]{1,63}$/;
/** The SDK's, of a difference that servers may refuse. */
const MAX_CLOCK_SKEW_MS = 4 * 60_000;

/** As the SDK calls it. */
function nameCommand(method: ObjectRequest['method'], query: Record<string, string>): string {
  if (query['uploadId'] !== undefined) return 'UploadPartCommand';
  return `${method[0]}${method.slice(1).toLowerCase()}ObjectCommand`;
}

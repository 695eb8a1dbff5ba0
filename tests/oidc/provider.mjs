// A real, certified OpenID provider on a free loopback port: `node provider.mjs KID=PEM-FILE ...`.
//
// Prints its port, and ends when its standard input does. `POST /-/keys?use=b,a` puts these of the keys in force, the first of
// which signs; with none, all. Nobody is asked anything: whoever comes to sign in is `ann`.
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

// Its recommendations for production are not for here.
console.info = console.warn = () => {};

const keys = process.argv.slice(2).map((argument) => {
  const [kid, file] = argument.split('=');
  return { ...createPrivateKey(readFileSync(file)).export({ format: 'jwk' }), kid, use: 'sig' };
});

const scope = 'orders.read orders.write';
const jwt = (alg) => ({ scope, accessTokenTTL: 3600, accessTokenFormat: 'jwt', jwt: { sign: { alg } } });
const resources = {
  'urn:orders': { ...jwt('RS256'), audience: 'urn:orders' },
  'urn:invoices': { ...jwt('RS256'), audience: 'urn:invoices' },
  'urn:orders:ps256': { ...jwt('PS256'), audience: 'urn:orders' },
  'urn:orders:es256': { ...jwt('ES256'), audience: 'urn:orders' },
  'urn:orders:short': { ...jwt('RS256'), audience: 'urn:orders', accessTokenTTL: 60 },
  'urn:orders:encrypted': {
    ...jwt('RS256'),
    audience: 'urn:orders',
    jwt: { sign: false, encrypt: { alg: 'dir', enc: 'A128CBC-HS256', key: Buffer.alloc(32, 7) } },
  },
  'urn:orders:opaque': { scope, audience: 'urn:orders', accessTokenFormat: 'opaque' },
};

function provider(issuer, use) {
  const made = new Provider(issuer, {
    jwks: { keys: use.length ? use.map((kid) => keys.find((key) => key.kid === kid)) : keys },
    cookies: { keys: ['not a secret'] },
    clients: [
      { client_id: 'service', client_secret: 'secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] },
      { client_id: 'app', token_endpoint_auth_method: 'none', redirect_uris: ['http://127.0.0.1/callback'], application_type: 'native' },
    ],
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    extraTokenClaims: () => ({ roles: ['reader', 'writer'], level: 3, groups: 'sales,support' }),
    scopes: ['openid', ...scope.split(' ')],
    pkce: { required: () => true },
    interactions: { url: (_, interaction) => `/sign-in/${interaction.uid}` },
    loadExistingGrant: async (context) => {
      const grant = new context.oidc.provider.Grant({ clientId: context.oidc.client.clientId, accountId: context.oidc.session.accountId });
      grant.addOIDCScope(`openid ${scope}`);
      for (const resource of Object.keys(resources)) grant.addResourceScope(resource, scope);
      await grant.save();
      return grant;
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({ ...resources[resource] }),
        useGrantedResource: () => true,
      },
    },
  });
  const callback = made.callback();
  return async (request, response) => {
    if (!request.url.startsWith('/sign-in/')) return callback(request, response);
    return made.interactionFinished(request, response, { login: { accountId: 'ann' }, consent: {} });
  };
}

let handler;
const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://provider');
  if (url.pathname === '/-/keys') {
    handler = provider(issuer(), url.searchParams.get('use').split(',').filter(Boolean));
    response.end();
    return;
  }
  handler(request, response).catch((error) => {
    response.statusCode = 500;
    response.end(String(error));
  });
});
const issuer = () => `http://127.0.0.1:${server.address().port}`;
server.listen(0, '127.0.0.1', () => {
  handler = provider(issuer(), []);
  console.log(server.address().port);
});
process.stdin.resume().on('end', () => process.exit());

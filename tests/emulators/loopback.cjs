// The emulators would listen on all interfaces. Loaded before them, this lets every server listen on 127.0.0.1 only.
const net = require("node:net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...given) {
  const callback = given.find((one) => typeof one === "function");
  const options = typeof given[0] === "object" ? given[0] : { port: Number(given[0]) };
  return listen.call(this, { ...options, host: "127.0.0.1" }, ...(callback ? [callback] : []));
};

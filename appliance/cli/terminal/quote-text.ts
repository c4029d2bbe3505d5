// How a restore quote reads on a terminal; also what the demo shows.

import type { RestoreQuoteAnswer } from '../../model/answers.ts';
import { countOf, moneyText, sizeText, timeText } from './human.ts';
import { printable } from './table.ts';
import type { Paint } from './output.ts';

export function quoteText(quote: RestoreQuoteAnswer, paint: Paint): string {
  const { money } = quote;
  const price = (amount: number): string => moneyText(amount, money.currency);
  const rows: [string, string][] = [
    [
      'brings back',
      `${countOf(quote.objects, 'object')}, ${sizeText(quote.bytes)}, ` +
        `from ${countOf(quote.packs, 'pack')} (${sizeText(quote.retrievedBytes)} retrieved)`,
    ],
    ['readable for', countOf(quote.days, 'day')],
    [
      'costs',
      `${price(money.amount)} = retrieval ${price(money.retrieval)} + requests ` +
        `${price(money.requests)} + egress ${price(money.egress)} + the copies ` +
        price(money.temporaryCopy),
    ],
    [
      'ready',
      `between ${timeText(quote.readyBetween.from)} and ${timeText(quote.readyBetween.to)} UTC`,
    ],
    ['quote', `${quote.quoteId}, good until ${timeText(quote.expiresAt)} UTC`],
  ];
  for (const [index, source] of quote.prices.entries()) {
    rows.push([index === 0 ? 'prices' : '', source]);
  }
  const title = printable(`s3://${quote.bucket}/${quote.prefix}`);
  return (
    `${paint.bold(`Quote for ${title}`)} (${quote.tier})\n` +
    rows.map(([name, text]) => `  ${paint.dim(name.padEnd(13))}${printable(text)}\n`).join('')
  );
}
